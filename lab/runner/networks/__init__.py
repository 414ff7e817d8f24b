"""What is done with the trained networks of a folder: open, measure, swap, quantize."""
