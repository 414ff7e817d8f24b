"""Sound files and the features that networks read instead of them."""
