"""What results say: outcomes, paired comparison, tuning, targets, speed. No JAX."""
