"""Results on disk: tables, cell directories, environments, and reading them back. No JAX."""
