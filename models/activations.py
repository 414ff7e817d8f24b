"""The activation functions of feed-forward layers, as frozen, named values.

A pointwise activation maps an array to an array; a gated one maps (gate, value) to an array, by the rule
`pointwise(gate) * value` (Shazeer 2020, arXiv:2002.05202) except where its docstring says otherwise.

Formulas are evaluated in float32 (or wider) and rounded once to the dtype of the input. They are right in the tails,
where the usual forms return 0 or nan. At a kink the gradient is the left derivative, as in PyTorch: relu'(0) = 0.
"""

import difflib
import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from models.source import source_hash

Values = Float[Array, "*shape"]
Scalar = Float[Array, ""] | float
Scalars = Float[Array, " n"] | tuple[float, ...]
Initial = float | tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Activation:
    """A named activation; hashable, so that equal ones share one compiled program.

    name: letters, digits and underscores in lower case (it becomes a directory name).
    function: `function(x, **parameters)`, or `function(gate, value, **parameters)` if gated; it sees float32 arrays.
    parameters: (name, initial value) pairs; they are learned, one set a layer, and passed to a call as keyword arrays.

    Raises ValueError for an unusable name and for a built-in name given to another function.
    """

    name: str
    function: Callable[..., Any]
    gated: bool = False
    parameters: tuple[tuple[str, Initial], ...] = ()

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ValueError(f"activation name {self.name!r}: allowed are lower-case letters, digits and underscores")
        if not callable(self.function):
            raise ValueError(f"activation {self.name!r}: function must be callable, not {self.function!r}")
        if not isinstance(self.parameters, tuple) or not all(map(_is_parameter, self.parameters)):
            raise ValueError(
                f"activation {self.name!r}: parameters must be (name, float or tuple) pairs, not {self.parameters!r}"
            )
        if self.name in _ALIASES or (self.name in _BUILT_IN and self != _BUILT_IN[self.name]):
            raise ValueError(f"activation name {self.name!r}: it is built in and cannot be given to another function")

    def __call__(self, *inputs: Values, **parameters: Any) -> Values:
        """Evaluate `(x)`, or `(gate, value)` if gated; the result has the inputs' shape and dtype.

        Raises TypeError for another number of inputs and for integers.
        """
        expected = ("gate", "value") if self.gated else ("x",)
        if len(inputs) != len(expected):
            raise TypeError(f"{self!r} is called with ({', '.join(expected)}), not with {len(inputs)} arrays")
        dtype = jnp.result_type(*inputs)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"{self!r} takes floating-point arrays, not {dtype}")
        wide = jnp.promote_types(dtype, jnp.float32)
        return self.function(*(jnp.asarray(x, wide) for x in inputs), **parameters).astype(dtype)

    def __repr__(self):
        return f"Activation({self.name!r})"

    def __reduce__(self):
        """Pickle a built-in activation by its name."""
        if self.name in _BUILT_IN:
            return activation, (self.name,)
        return Activation, (self.name, self.function, self.gated, self.parameters)

    @property
    def source_hash(self) -> str | None:
        """The hash of a user's function (`models.source`); None if built in."""
        return None if self.name in _BUILT_IN else source_hash(self.function)


def activation(name: str | Activation) -> Activation:
    """Return the built-in activation called `name` (an Activation is passed through).

    Raises ValueError, naming the nearest one, if there is none.
    """
    if isinstance(name, Activation):
        return name
    built_in = _BUILT_IN.get(_ALIASES.get(name, name))
    if built_in is None:
        nearest = difflib.get_close_matches(str(name), [*_BUILT_IN, *_ALIASES], n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(_BUILT_IN)}"
        raise ValueError(f"activation {name!r} is unknown: {hint}")
    return built_in


def glu_of(pointwise: str | Activation) -> Activation:
    """Return the gated linear unit of a pointwise activation, `pointwise(gate) * value` (Shazeer 2020, eq. 5).

    It is called `<name>_glu`, or by its name in the paper: geglu, swiglu, reglu, glu, bilinear.
    Raises ValueError if the activation is gated already.
    """
    pointwise = activation(pointwise)
    if pointwise.gated:
        raise ValueError(f"glu_of({pointwise.name!r}): this activation is gated already, a pointwise one is needed")
    name = _GLU_NAMES.get(pointwise.name, f"{pointwise.name}_glu")
    return Activation(name, _GLU(pointwise.function), gated=True, parameters=pointwise.parameters)


def _is_parameter(pair: Any) -> bool:
    match pair:
        case (str(name), float() | int() | tuple()):
            return name.isidentifier()
    return False


# Piecewise: `where(x <= 0, ...)` gives the left derivative at the kink and lets nan through.


def identity(x: Values) -> Values:
    """`x`."""
    return x


def relu(x: Values) -> Values:
    """`max(x, 0)`."""
    return jnp.where(x <= 0, 0.0, x)


def relu2(x: Values) -> Values:
    """`max(x, 0)^2` (So et al. 2021, arXiv:2109.08668)."""
    return jnp.square(relu(x))


def prelu(x: Values, slope: Scalar) -> Values:
    """`x` above 0, `slope x` below (He et al. 2015, arXiv:1502.01852)."""
    return jnp.where(x <= 0, slope * x, x)


def leaky_relu(x: Values) -> Values:
    """`x` above 0, `0.01 x` below (Maas et al. 2013)."""
    return prelu(x, 0.01)


def elu(x: Values) -> Values:
    """`x` above 0, `exp(x) - 1` below (Clevert et al. 2015, arXiv:1511.07289, alpha = 1)."""
    return relu(x) + jnp.expm1(_negative_part(x))


def selu(x: Values) -> Values:
    """ELU scaled to keep mean 0 and variance 1 under N(0, 1) (Klambauer et al. 2017, arXiv:1706.02515, eq. 2)."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * (relu(x) + alpha * jnp.expm1(_negative_part(x)))


def xielu(x: Values, alpha_p: Scalar, alpha_n: Scalar) -> Values:
    """`p x^2 + b x` above 0, `n (exp(x) - 1 - x) + b x` below (Huang & Schlag 2024, arXiv:2411.13010).

    `p = softplus(alpha_p)`, `n = b + softplus(alpha_n)`, `b = 0.5`. The authors' kernel also keeps the argument of
    expm1 below -1e-6, which moves values near 0 by less than 1e-6 and is left out here.
    """
    b, p, excess = 0.5, jax.nn.softplus(alpha_p), jax.nn.softplus(alpha_n)
    above, below = relu(x), _negative_part(x)
    # (b - n) x is -excess x: written so, the limit at -inf is not inf - inf.
    return above * (p * above + b) + (b + excess) * jnp.expm1(below) - excess * below


def polyrelu(x: Values, weight: Scalars, bias: Scalar) -> Values:
    """`w0 r^3 + w1 r^2 + w2 r + bias` with `r = max(x, 0)` (Zhuo et al. 2024, arXiv:2411.03884)."""
    r = relu(x)
    return ((weight[0] * r + weight[1]) * r + weight[2]) * r + bias


def polynorm(x: Values, weight: Scalars, bias: Scalar) -> Values:
    """`w0 N(x^3) + w1 N(x^2) + w2 N(x) + bias`, N being RMS normalisation of the last axis (arXiv:2411.03884)."""
    # Scaling x, and eps with it, does not change N; unscaled, x^6 overflows from 2.6e6 on.
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    shrink = lax.rsqrt(jnp.maximum(largest, 1.0))  # the square root: 1 / largest would be flushed to 0 from 8.5e37 on

    def normalized_power(k: int):
        power = (x * shrink * shrink) ** k
        return power * lax.rsqrt(jnp.mean(jnp.square(power), axis=-1, keepdims=True) + 1e-6 * shrink ** (4 * k))

    return weight[0] * normalized_power(3) + weight[1] * normalized_power(2) + weight[2] * normalized_power(1) + bias


def _negative_part(x: Values) -> Values:
    return jnp.where(x <= 0, x, 0.0)


def _inverse_softplus(y: float) -> float:
    return math.log(math.expm1(y))


# Smooth, built on the negative side, where neither an exponential overflows nor a tail is lost to rounding at 1.


def sigmoid(x: Values) -> Values:
    """`1 / (1 + exp(-x))`."""
    return jax.nn.sigmoid(x)


def tanh(x: Values) -> Values:
    """Hyperbolic tangent."""
    return jnp.tanh(x)


def softplus(x: Values) -> Values:
    """`log(1 + exp(x))`."""
    return relu(x) + jnp.log1p(jnp.exp(_minus_magnitude(x)))


def swish_beta(x: Values, beta: Scalar) -> Values:
    """`x sigmoid(beta x)` (Ramachandran et al. 2017, arXiv:1710.05941)."""
    bounded = jnp.where(x == -jnp.inf, jnp.finfo(x.dtype).min, x)  # -inf * 0 is nan
    return bounded * _sigmoid_and_slope(beta * bounded)[0]


def _minus_magnitude(x):
    return jnp.where(x <= 0, x, -x)  # not -abs(x), whose derivative at 0 is 0


def _sigmoid_and_slope(x):
    power = _exp(_minus_magnitude(x))
    rest = 1 / (1 + power)
    return jnp.where(x <= 0, power * rest, rest), power * rest * rest


_WHOLE = 0x4B400000  # the bits of 1.5 * 2^23, from which on float32 has no fractions


@jax.custom_jvp
def _exp(x):
    """`exp(x)` of numbers up to 0, within 3e-7; XLA's takes twice as long on a CPU, where it matters."""
    if x.dtype != jnp.float32:
        return jnp.exp(x)
    return lax.platform_dependent(x, cpu=_exp_by_parts, default=jnp.exp)


@_exp.defjvp
def _(primals, tangents):
    y = _exp(*primals)
    return y, y * tangents[0]


def _exp_by_parts(x):
    """`2^n exp(r)` with `x = n log(2) + r`: r by its series, n added to the exponent's bits; 0 below exp(-87)."""
    whole = lax.bitcast_convert_type(x * (1 / math.log(2)) + 1.5 * 2**23, jnp.int32)  # n in the last bits of the sum
    n = (whole - _WHOLE).astype(jnp.float32)
    r = x - n * 0.693359375 + n * 2.12194440e-4  # log(2) in two parts, the first of few bits: that product is exact
    series = jnp.float32(1 / 720)
    for divisor in (120, 24, 6, 2, 1, 1):
        series = series * r + 1 / divisor
    bits = lax.bitcast_convert_type(series, jnp.int32) + (whole << 23)
    return jnp.where(x < -87, 0.0, lax.bitcast_convert_type(bits, jnp.float32))


# Self-gated: x * gate(x), with a gate that rises from 0 to 1.

_GATE_IS_ZERO, _GATE_IS_ONE = -1000.0, 40.0  # from here on every gate below is exactly that, in float32 and float64


def _self_gated(gate: Callable[..., Any]) -> Callable[..., Any]:
    """Make `x * gate(x)` of a function that returns the gate and its slope.

    The slope is given because differentiation would form it by cancellation: 1 - gate, off by 6e-8, is multiplied by x
    and by the gate's inner derivative, up to 3e-6 for mish and gelu_tanh. One array is kept for the backward pass.
    """

    def parts(x):
        bounded = jnp.clip(x, _GATE_IS_ZERO, _GATE_IS_ONE)
        return jnp.maximum(x, _GATE_IS_ZERO), bounded, *gate(bounded)  # the maximum: -inf * 0 is nan

    @jax.custom_jvp
    @functools.wraps(gate)
    def function(x):
        factor, _, g, _ = parts(x)
        return factor * g

    @function.defjvp
    def _(primals, tangents):
        factor, bounded, g, slope = parts(*primals)
        return factor * g, (g + bounded * slope) * tangents[0]

    return function


# Phi(-a) / exp(-a^2 / 2) for a >= 0 is t times a polynomial in t = 1 / (1 + a / 4). Coefficients of 1, t, t^2, ... that
# make the largest relative error smallest, 4e-8, found by least squares weighted anew until the errors are level.
_TAIL = (
    0.0997355667,
    0.0997364316,
    0.0934663553,
    0.0816031101,
    0.0589751358,
    0.0636991726,
    -0.0317176601,
    0.0955972483,
    -0.0808774105,
    0.0197820332,
)


@_self_gated
def gelu(x):
    """`x Phi(x)`, exact (Hendrycks & Gimpel 2016, arXiv:1606.08415); PyTorch's default, not JAX's."""
    bell, minus = _exp(-0.5 * x * x), _minus_magnitude(x)
    if x.dtype == jnp.float32:  # erfc, which forms the exponential once more, takes twice as long on a CPU
        t = 1 / (1 - 0.25 * minus)
        tail = bell * t * jnp.polyval(jnp.array(_TAIL[::-1], jnp.float32), t)
    else:
        tail = 0.5 * lax.erfc(-math.sqrt(0.5) * minus)
    return jnp.where(x <= 0, tail, 1 - tail), bell / math.sqrt(2 * math.pi)


@_self_gated
def gelu_tanh(x):
    """`x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`, the form of GPT-2, T5 v1.1, Gemma and `jax.nn.gelu`."""
    scale, cubic = 2 * math.sqrt(2 / math.pi), 0.044715
    gate, slope = _sigmoid_and_slope(scale * x * (1 + cubic * x * x))  # (1 + tanh(u)) / 2 = sigmoid(2u) keeps the tail
    return gate, slope * scale * (1 + 3 * cubic * x * x)


@_self_gated
def gelu_quick(x):
    """`x sigmoid(1.702 x)`, the approximation of CLIP (arXiv:1606.08415, section 2)."""
    gate, slope = _sigmoid_and_slope(1.702 * x)
    return gate, 1.702 * slope


@_self_gated
def silu(x):
    """`x sigmoid(x)`, also called swish (arXiv:1606.08415; arXiv:1710.05941)."""
    return _sigmoid_and_slope(x)


@_self_gated
def mish(x):
    """`x tanh(softplus(x))` (Misra 2019, arXiv:1908.08681)."""
    n = jnp.exp(x)
    numerator = n * (n + 2)  # tanh(log(1 + n)) = n (n + 2) / (n (n + 2) + 2)
    r = 1.0 / (numerator + 2)
    return numerator * r, (2 * n * r) * (2 * (n + 1) * r)


@_self_gated
def hard_swish(x):
    """`x clip(x + 3, 0, 6) / 6` (Howard et al. 2019, arXiv:1905.02244)."""
    return jnp.clip((x + 3) / 6, 0.0, 1.0), jnp.where(jnp.abs(x) < 3, 1 / 6, 0.0)


def swiglu_clamped(gate: Values, value: Values) -> Values:
    """`(u + 1) g sigmoid(1.702 g)`, `g = min(gate, 7)`, `u = clip(value, -7, 7)`: the gated unit of gpt-oss."""
    limit = 7.0  # reached in bfloat16; the gradient there is 1, as in PyTorch
    g = jnp.where(gate > limit, limit, gate)
    u = jnp.where(value > limit, limit, jnp.where(value < -limit, -limit, value))
    return (u + 1) * gelu_quick(g)


@dataclass(frozen=True)
class _GLU:
    """`pointwise(gate) * value`; a class because two closures of one function would not compare equal."""

    pointwise: Callable[..., Any]

    def __call__(self, gate: Values, value: Values, **parameters: Any) -> Values:
        return self.pointwise(gate, **parameters) * value


_ALIASES = {"swish": "silu"}
_GLU_NAMES = {"sigmoid": "glu", "identity": "bilinear", "relu": "reglu", "gelu": "geglu", "silu": "swiglu"}
_BUILT_IN: dict[str, Activation] = {}

_THIRDS = (1 / 3, 1 / 3, 1 / 3)
_POINTWISE = (
    Activation("relu", relu),
    Activation("gelu", gelu),
    Activation("gelu_tanh", gelu_tanh),
    Activation("gelu_quick", gelu_quick),
    Activation("silu", silu),
    Activation("elu", elu),
    Activation("selu", selu),
    Activation("leaky_relu", leaky_relu),
    Activation("softplus", softplus),
    Activation("mish", mish),
    Activation("sigmoid", sigmoid),
    Activation("tanh", tanh),
    Activation("identity", identity),
    Activation("hard_swish", hard_swish),
    Activation("relu2", relu2),
    Activation("prelu", prelu, parameters=(("slope", 0.25),)),
    Activation("swish_beta", swish_beta, parameters=(("beta", 1.0),)),
    Activation("xielu", xielu, parameters=(("alpha_p", _inverse_softplus(0.8)), ("alpha_n", _inverse_softplus(0.3)))),
    Activation("polyrelu", polyrelu, parameters=(("weight", _THIRDS), ("bias", 0.0))),
    Activation("polynorm", polynorm, parameters=(("weight", _THIRDS), ("bias", 0.0))),
)
_GATED = (*(glu_of(pointwise) for pointwise in _POINTWISE), Activation("swiglu_clamped", swiglu_clamped, gated=True))
_BUILT_IN.update({built_in.name: built_in for built_in in (*_POINTWISE, *_GATED)})

ACTIVATIONS: tuple[str, ...] = tuple(_BUILT_IN)
