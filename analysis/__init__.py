"""What the records mean: statistics, comparison, table, figures, report. Reads records, never JAX."""
