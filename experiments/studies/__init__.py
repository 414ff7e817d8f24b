"""Studies: questions that need several experiments, one file each."""
