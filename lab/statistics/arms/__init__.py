"""Statistics of several arms at once: families of verdicts, ranks, aggregates."""
