"""Utilities that need only the standard library: atomic writes, locks, checksums, and errors for invalid values."""
