"""Formats of decoders, one family per file."""
