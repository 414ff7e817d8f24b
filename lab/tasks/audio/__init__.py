"""Tasks on speech, and what they share."""
