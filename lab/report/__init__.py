"""What a reader sees: tables, figures, and self-contained HTML pages. No JAX."""
