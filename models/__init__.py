"""What is computed: activations, the layers that hold them, the Transformer."""
