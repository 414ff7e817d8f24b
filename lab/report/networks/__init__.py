"""Sections and pages on what was measured inside trained networks."""
