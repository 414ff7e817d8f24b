"""What is inside a network and what it costs: drift between networks, parameters, FLOPs, machine rates."""
