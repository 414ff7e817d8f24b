"""Activation functions of feed-forward layers, as frozen, named values.

A pointwise activation maps an array to an array; a gated one maps (gate, value) to `pointwise(gate) * value` (Shazeer
2020, arXiv:2002.05202), unless its docstring says otherwise.

Formulas are evaluated in float32 (or wider) and rounded once to the dtype of the input. They are accurate in the tails,
where the usual forms return 0 or nan. At a kink the gradient is the left derivative: relu'(0) = 0, as in PyTorch.
"""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from lab.files.choices import nearest
from models.activations.formulas import Values
from models.activations.formulas.normalized import log_softmax, polynorm, softmax
from models.activations.formulas.periodic import cosid, gelu_sine, minsin, snake, square_relax, triangle_relax
from models.activations.formulas.piecewise import (
    absolute,
    elu,
    identity,
    leaky_relu,
    leaky_relu2,
    polyrelu,
    prelu,
    relu,
    relu2,
    selu,
    xielu,
)
from models.activations.formulas.self_gated import (
    gelu,
    gelu_monotone,
    gelu_quick,
    gelu_tanh,
    golu,
    hard_swish,
    mish,
    silu,
    soi,
    tanhexp,
)
from models.activations.formulas.smooth import (
    bipolar_sigmoid,
    elish,
    elish_gpt_neo,
    lisht,
    maxsig,
    maxtanh,
    roottanh,
    seagull,
    sigmoid,
    smooth_relu2,
    softplus,
    softplusmone,
    softsign,
    spike,
    spike2,
    swish_beta,
    tanh,
    tanhshrink,
)
from models.activations.identity import identify
from models.identity import Identity

Initial = float | tuple[float, ...]


@dataclass(frozen=True, repr=False, eq=False)
class Activation:
    """A named activation; hashable, so that equal activations share one compiled program.

    Built-in ones are equal by name, a user's by name and what they compute: values, slopes, and the initial values of
    what is learned, as `models.identity` tells them. A user's function is traced when its activation is made.

    name: letters, digits and underscores in lower case (it becomes a directory name).
    function: `function(x, **parameters)`, or `function(gate, value, **parameters)` if gated; it sees float32 arrays.
    parameters: (name, initial value) pairs; they are learned, one set a layer, and passed to a call as keyword arrays.
        One called "constant", whose gradient the function stops, is not learned: a training run may set it, by its
        hyperparameter `activation_constant`.
    sampled: of a stochastic activation, what `FeedForward` and `Hidden` use in training instead of `function`, its
        mean: `sampled(key, x, **parameters)`, or `sampled(key, gate, value, **parameters)` if gated.

    Raises ValueError for an unusable name, for a built-in name given to another function, and for a function that JAX
    cannot trace, that is not pure, or whose result is not one floating-point array of its input's shape.
    """

    name: str
    function: Callable[..., Any]
    gated: bool = False
    parameters: tuple[tuple[str, Initial], ...] = ()
    sampled: Callable[..., Any] | None = None

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ValueError(f"activation name {self.name!r}: it must be lower-case letters, digits and underscores")
        if not callable(self.function):
            raise ValueError(f"activation {self.name!r}: function must be callable, not {self.function!r}")
        if not isinstance(self.parameters, tuple) or not all(map(_is_parameter, self.parameters)):
            raise ValueError(
                f"activation {self.name!r}: parameters must be (name, float or tuple) pairs, not {self.parameters!r}"
            )
        if self.name in _ALIASES or (self.name in _BUILT_IN and self._given != _BUILT_IN[self.name]._given):
            raise ValueError(f"activation name {self.name!r}: it is built in and cannot name another function")
        if not self.built_in:
            _ = self.identity  # before its function can change, and refused now if it cannot be traced

    def __call__(self, *inputs: Values, **parameters: Any) -> Values:
        """Evaluate `(x)`, or `(gate, value)` if gated; the result has the shape and dtype of the inputs.

        Raises TypeError for a wrong number of inputs and for integers.
        """
        return self._evaluated(self.function, inputs, parameters)

    def sample(self, key: Array, *inputs: Values, **parameters: Any) -> Values:
        """Draw `(x)`, or `(gate, value)` if gated, of a stochastic activation; of another one, evaluate it."""
        drawn = self.function if self.sampled is None else functools.partial(self.sampled, key)
        return self._evaluated(drawn, inputs, parameters)

    def _evaluated(
        self, function: Callable[..., Any], inputs: tuple[Values, ...], parameters: dict[str, Any]
    ) -> Values:
        expected = ("gate", "value") if self.gated else ("x",)
        if len(inputs) != len(expected):
            raise TypeError(f"{self!r} takes ({', '.join(expected)}), but was called with {len(inputs)} arrays")
        dtype = jnp.result_type(*inputs)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"{self!r} takes floating-point arrays, not {dtype}")
        wide = jnp.promote_types(dtype, jnp.float32)
        return function(*(jnp.asarray(x, wide) for x in inputs), **parameters).astype(dtype)

    def __repr__(self):
        return f"Activation({self.name!r})"

    def __reduce__(self):
        """Pickle a built-in activation by its name."""
        if self.name in _BUILT_IN:
            return activation, (self.name,)
        return Activation, self._given

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        if self is other or self.name != other.name:
            return self is other
        return self.built_in or self.identity.program == other.identity.program

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def built_in(self) -> bool:
        """Whether it is one of `ACTIVATIONS`, which go by their names; so do those that are being made for it."""
        return not _BUILT_IN or self.name in _BUILT_IN

    @functools.cached_property
    def identity(self) -> Identity:
        """What the function computed when the activation was made."""
        return identify(*self._given)

    def check(self) -> None:
        """Raises ValueError if a user's function computes something else than when the activation was made."""
        if not self.built_in and identify(*self._given).program != self.identity.program:
            raise ValueError(
                f"activation {self.name!r}: its function computes something else than when the activation was made, "
                f"make it again"
            )

    @property
    def _given(self) -> tuple[Any, ...]:
        return self.name, self.function, self.gated, self.parameters, self.sampled


def activation(name: str | Activation) -> Activation:
    """Return the built-in activation called `name` (an Activation is returned as it is).

    Raises ValueError, naming the nearest match, for an unknown name.
    """
    if isinstance(name, Activation):
        return name
    built_in = _BUILT_IN.get(_ALIASES.get(name, name))
    if built_in is None:
        hint = nearest(name, [*_BUILT_IN, *_ALIASES]) or f": known activations are {', '.join(_BUILT_IN)}"
        raise ValueError(f"activation {name!r} is unknown{hint}")
    return built_in


def glu_of(pointwise: str | Activation) -> Activation:
    """Return the gated linear unit of a pointwise activation, `pointwise(gate) * value` (Shazeer 2020, eq. 5).

    Its name is `<name>_glu`, or that of the paper: geglu, swiglu, reglu, glu, bilinear.
    Raises ValueError if the activation is already gated.
    """
    pointwise = activation(pointwise)
    if pointwise.gated:
        raise ValueError(f"glu_of({pointwise.name!r}): this activation is already gated; glu_of needs a pointwise one")
    name = _GLU_NAMES.get(pointwise.name, f"{pointwise.name}_glu")
    sampled = None if pointwise.sampled is None else _GLU(pointwise.sampled)
    return Activation(name, _GLU(pointwise.function), True, pointwise.parameters, sampled)


def _is_parameter(pair: Any) -> bool:
    match pair:
        case (str(name), float() | int() | tuple()):
            return name.isidentifier()
    return False


def swiglu_clamped(gate: Values, value: Values) -> Values:
    """`(u + 1) g sigmoid(1.702 g)`, `g = min(gate, 7)`, `u = clip(value, -7, 7)`: the gated unit of gpt-oss."""
    limit = 7.0  # reached in bfloat16; the gradient there is 1, as in PyTorch
    g = jnp.where(gate > limit, limit, gate)
    u = jnp.where(value > limit, limit, jnp.where(value < -limit, -limit, value))
    return (u + 1) * gelu_quick(g)


@dataclass(frozen=True)
class _GLU:
    """`pointwise(gate) * value`; a class, because two closures over one function would not compare equal.

    Given `(gate, value)`, or `(key, gate, value)` if it draws.
    """

    pointwise: Callable[..., Any]

    def __call__(self, *inputs: Any, **parameters: Any) -> Values:
        *given, value = inputs
        return self.pointwise(*given, **parameters) * value


def _inverse_softplus(y: float) -> float:
    return math.log(math.expm1(y))


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
    # Further activations that EleutherAI compared in 2021 (EleutherAI/gpt-neo, models/activations.py).
    Activation("softsign", softsign),
    Activation("bipolar_sigmoid", bipolar_sigmoid),
    Activation("softplusmone", softplusmone),
    Activation("tanhshrink", tanhshrink),
    Activation("tanhexp", tanhexp),
    Activation("lisht", lisht),
    Activation("roottanh", roottanh),
    Activation("maxtanh", maxtanh),
    Activation("maxsig", maxsig),
    Activation("elish", elish),
    Activation("elish_gpt_neo", elish_gpt_neo),
    Activation("abs", absolute),
    Activation("spike", spike),
    Activation("spike2", spike2),
    Activation("seagull", seagull),
    Activation("snake", snake),
    Activation("cosid", cosid),
    Activation("minsin", minsin),
    Activation("square_relax", square_relax),
    Activation("triangle_relax", triangle_relax),
    Activation("softmax", softmax),
    Activation("log_softmax", log_softmax),
    # What has been compared with GELU and ReLU^2 since.
    Activation("golu", golu),
    Activation("gelu_monotone", gelu_monotone),
    Activation("gelu_sine", gelu_sine),
    Activation("soi", gelu, sampled=soi),
    Activation("leaky_relu2", leaky_relu2, parameters=(("constant", 0.5),)),
    Activation("smooth_relu2", smooth_relu2, parameters=(("constant", 0.2),)),
)
_GATED = (*(glu_of(pointwise) for pointwise in _POINTWISE), Activation("swiglu_clamped", swiglu_clamped, gated=True))
_BUILT_IN.update({built_in.name: built_in for built_in in (*_POINTWISE, *_GATED)})

ACTIVATIONS: tuple[str, ...] = tuple(_BUILT_IN)
