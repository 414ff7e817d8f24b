"""Formulas of the activations, and the types of their arguments."""

from jaxtyping import Array, Float

Values = Float[Array, "*shape"]
Scalar = Float[Array, ""] | float
Scalars = Float[Array, " n"] | tuple[float, ...]
