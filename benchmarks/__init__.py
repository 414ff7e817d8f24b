"""Speed, measured: one command each."""
