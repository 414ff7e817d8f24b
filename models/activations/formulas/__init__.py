"""The formulas of the activations, and the types of what they are called with."""

from jaxtyping import Array, Float

Values = Float[Array, "*shape"]
Scalar = Float[Array, ""] | float
Scalars = Float[Array, " n"] | tuple[float, ...]
