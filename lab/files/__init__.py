"""The ground floor, standard library only: atomic writes, locks, checksums, and the refusal of a value."""
