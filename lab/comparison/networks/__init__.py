"""Comparisons of what was measured of networks beside their losses."""
