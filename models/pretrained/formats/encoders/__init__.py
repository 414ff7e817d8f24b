"""Formats of encoders, one family per file."""
