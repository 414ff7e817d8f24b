"""Calibration of the statistics: experiments simulated with known truth, one subject per file."""
