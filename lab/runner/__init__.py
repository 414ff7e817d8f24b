"""From an experiment to its results: plan, dispatch, progress, and sessions of several experiments."""
