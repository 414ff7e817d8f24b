"""Speed, measured on the machine at hand: one command a question, results with machine and versions."""
