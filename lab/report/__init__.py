"""Output for readers: tables, figures, and self-contained HTML pages. No JAX."""
