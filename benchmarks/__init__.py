"""Speed on this machine: one command per question, results with machine and versions."""
