"""Pretrained networks: Hugging Face folders read and written, without PyTorch and without pickles."""

from models.pretrained.folder import load, save

__all__ = ["load", "save"]
