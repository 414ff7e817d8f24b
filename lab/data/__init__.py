"""Data sets and tokenizers, which are prepared, read and checked on the host, and the order of examples."""
