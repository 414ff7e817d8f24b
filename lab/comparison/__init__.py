"""Analysis of results: outcomes, paired comparison, tuning, time to target, speed. No JAX."""
