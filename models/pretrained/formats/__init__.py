"""One file for each format of published checkpoints."""
