"""What is learned: tasks, and the data they are made of."""
