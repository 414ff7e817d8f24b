"""Data sets and tokenizers, read, prepared and checked on the host, and the order of examples."""
