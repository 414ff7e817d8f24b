"""Models: activations, layers, the Transformer and other networks."""
