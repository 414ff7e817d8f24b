"""Activation functions: named values, one registry of the built-in ones, one formula a function."""

from models.activations.registry import ACTIVATIONS, Activation, activation, glu_of

__all__ = ["ACTIVATIONS", "Activation", "activation", "glu_of"]
