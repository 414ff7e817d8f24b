"""Statistics of curves: laws fitted to them, and spikes."""
