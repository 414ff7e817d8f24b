"""Training: settings, optimizers, one run as pure functions, many runs as one program."""
