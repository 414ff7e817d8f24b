"""Damaged files: truncated, overwritten, or not of this program."""


class DamagedFileError(ValueError):
    """A file that exists but cannot be read as what it should be; the sentence names it and says what to do."""
