"""Pages of studies and of reproduced figures."""
