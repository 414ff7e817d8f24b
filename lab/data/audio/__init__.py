"""Audio files and features."""
