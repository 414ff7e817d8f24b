"""Measurements of networks: drift between networks, parameters, FLOPs, machine rates."""
