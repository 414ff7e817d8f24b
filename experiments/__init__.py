"""Experiments, one file each, and studies."""
