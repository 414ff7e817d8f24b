"""How it is learned: settings, optimizers, one run as pure functions, many runs as one program."""
