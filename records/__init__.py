"""What is on disk: rows, cell directories, atomic writes, locks, environment. No JAX."""
