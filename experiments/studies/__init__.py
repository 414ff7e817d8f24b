"""Studies: questions that take several experiments, one file each."""
