"""How a trained network is changed: another activation or norm on the same weights."""
