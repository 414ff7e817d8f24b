"""Tasks: the inputs, loss and metrics of training."""
