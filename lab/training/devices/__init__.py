"""How the runs of a cell are placed on devices and processes, and what fits there."""
