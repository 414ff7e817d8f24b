"""What is asked: one file a study."""
