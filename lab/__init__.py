"""How a question is answered: data and tasks, training, probes, results, comparison, report, and the runner."""
