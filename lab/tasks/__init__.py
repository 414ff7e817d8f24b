"""What is learned: inputs, loss and metrics of every kind of training."""
