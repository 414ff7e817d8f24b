"""Corpora: read, prepared and checked on the host."""
