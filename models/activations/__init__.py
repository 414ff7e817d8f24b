"""Activation functions: named values, the registry of built-in ones, and their formulas."""

from models.activations.registry import ACTIVATIONS, Activation, activation, glu_of

__all__ = ["ACTIVATIONS", "Activation", "activation", "glu_of"]
