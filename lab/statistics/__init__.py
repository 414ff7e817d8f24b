"""Statistics of paired runs in NumPy and SciPy, one method per file."""
