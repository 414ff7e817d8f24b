"""What can be known of a model and a machine: costs before anything is compiled, speed limits."""
