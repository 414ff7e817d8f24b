"""Pretrained networks: reads and writes Hugging Face folders, without PyTorch and without pickle."""

from models.pretrained.folder import load, save
from models.pretrained.inspection import Inspection, inspect

__all__ = ["Inspection", "inspect", "load", "save"]
