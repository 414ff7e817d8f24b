"""Results on disk: tables, cell directories, environments, and reading results. No JAX."""
