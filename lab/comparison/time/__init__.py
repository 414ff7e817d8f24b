"""Time in comparisons: durations, speed, and when a curve reaches a target."""
