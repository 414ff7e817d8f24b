"""Pretrained networks: Hugging Face folders read and written, without PyTorch and without pickles."""

from models.pretrained.folder import load, save
from models.pretrained.inspection import Inspection, inspect

__all__ = ["Inspection", "inspect", "load", "save"]
