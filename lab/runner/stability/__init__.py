"""How stable training is: the largest stable learning rates, and warm restarts."""
