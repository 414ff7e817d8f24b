"""Data sets that are not read from files of one's own: one file a set."""
