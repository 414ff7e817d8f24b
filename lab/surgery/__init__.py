"""Model surgery: gives a trained network another activation or norm while keeping its weights."""
