"""What a function computes, as a value that can be kept and compared: its trace and its values, never its source.

The program is what JAX traces the function to, told by what each result is computed from: primitives and their
parameters, constants with their bytes, shapes and dtypes. Names, places in a file, and what no result depends
on do not enter. Beside it stand values at fixed inputs, its fingerprint.

The rule: functions with one program are the same. Functions with two programs that were traced by the same versions of
the libraries are different. Another version may trace one function to two programs: there they are the same if their
fingerprints agree to `TOLERANCE`.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jax.extend import core

TOLERANCE = 1e-4
"""Of a fingerprint, relative: float32 rounds at 6e-8, and versions of XLA differ by some 1e-6 in tanh or exp."""
MOST_VALUES = 64
"""An array of more values has three numbers in the fingerprint."""
LIBRARIES = ("jax", "flax", "numpy", "optax")
WITHOUT_NUMBERS = ("name", "debug_info", "ctx_mesh")
"""Parameters of primitives that decide no number: names of inner functions, and what they were called under."""


class Impure(ValueError):
    """A function that does more than to compute its results from its arguments; the message says what it does."""


class Identity:
    """Of a function of `examples`, trees of arrays, that gives a tree of arrays.

    Made without compiling anything, and on no device. Raises Impure for a function that has side effects, calls back
    into Python, or gives something else when it is called again, and whatever the function raises.
    """

    def __init__(self, function: Callable[..., Any], *examples: Any):
        self._function, self._examples = function, examples
        with jax.default_matmul_precision("highest"):  # whatever the environment says
            # A new function each time: of one that it has seen, JAX gives the trace that it has kept.
            closed = jax.make_jaxpr(lambda *arguments: (function(*arguments), function(*arguments)))(*examples)
        if closed.effects:
            raise Impure(f"has side effects ({', '.join(sorted(map(str, closed.effects)))})")
        results = _results(closed)
        once, again = results[: len(results) // 2], results[len(results) // 2 :]
        if once != again:
            raise Impure("gives something else when it is called again")
        self.program = _hash(*(str(value) for value in closed.in_avals), *once)
        """SHA-256, hex."""

    @functools.cached_property
    def values(self) -> list[float | str]:
        """The fingerprint, in 6 digits: the values of small arrays, three numbers of a large one."""
        with jax.default_matmul_precision("highest"):
            results = jax.jit(lambda *arguments: self._function(*arguments))(*self._examples)
        return [_rounded(value) for leaf in jax.tree.leaves(results) for value in _summary(leaf)]

    def to_json(self) -> dict[str, Any]:
        """Program and fingerprint, and by what they were made."""
        return {"program": self.program, "traced_by": traced_by(), "values": self.values}

    def difference(self, known: Mapping[str, Any]) -> str | None:
        """What tells this function from the one that has this JSON, in words; None if they are the same."""
        if known["program"] == self.program:
            return None
        was, now = ([float(value) for value in values] for values in (known["values"], self.values))
        if len(was) != len(now):
            return f"{len(was)} values and slopes at fixed inputs, now {len(now)}"
        wrong = [(a, b) for a, b in zip(was, now, strict=True) if not _close(a, b)]
        if wrong:
            a, b = wrong[0]
            return f"{len(wrong)} of {len(now)} values and slopes at fixed inputs differ, such as {a:g}, now {b:g}"
        if known["traced_by"] == traced_by():
            return "values and slopes at fixed inputs agree in 4 digits, but other operations or constants compute them"
        return None


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def traced_by() -> dict[str, Any]:
    """On what a program depends beside the function: versions of the libraries, and whether 64 bits are on."""
    return {**_versions(), "x64": jax.config.read("jax_enable_x64")}


def traced(owner: str, trace: Callable[..., Any], *arguments: Any) -> Any:
    """`trace(*arguments)`, which runs the code of `owner`, a user's.

    Raises ValueError, in one sentence, where it cannot be traced or is not pure; the error itself is its cause.
    """
    try:
        return trace(*arguments)
    except Impure as error:
        raise ValueError(f"{owner} {error}: a pure function of arrays is needed") from error
    except Exception as error:  # whatever a user's code raises
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"JAX cannot trace {owner}{_advice(error)} ({type(error).__name__}: {first})") from error


def _advice(error: Exception) -> str:
    text = str(error)
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return ", use jax.numpy in place of NumPy"
    if isinstance(error, jax.errors.ConcretizationTypeError) or "truth value" in text or "Python scalars" in text:
        return ", use jnp.where in place of a Python `if`, and jax.numpy in place of math"
    if type(error).__module__ == "flax.errors":
        return ", a Flax module has no parameters here: write a function, and give what is learned in parameters"
    return ""


def array_hash(array: Any) -> str:
    """SHA-256, hex, of an array's dtype, shape and bytes; a PRNG key counts as its data."""
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return _hash(str(array.dtype), array_hash(jax.random.key_data(array)))
    values = np.ascontiguousarray(array)
    return _hash(str(values.dtype), str(np.shape(array)), hashlib.sha256(values.view(np.uint8).data).hexdigest())


def _results(closed: core.ClosedJaxpr) -> list[str]:
    """Of every result of a program a hash of what it is computed from."""
    jaxpr = closed.jaxpr
    known = {variable: array_hash(value) for variable, value in zip(jaxpr.constvars, closed.consts, strict=True)}
    return _inner_results(jaxpr, known)


def _inner_results(jaxpr: core.Jaxpr, known: dict[Any, str]) -> list[str]:
    known |= {variable: f"input {index}: {variable.aval}" for index, variable in enumerate(jaxpr.invars)}

    def of(atom: Any) -> str:
        return f"{atom.aval} {_text(atom.val)}" if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        if "callback" in equation.primitive.name:
            raise Impure(f"calls back into Python ({equation.primitive.name})")
        parameters = [_text(item) for item in sorted(equation.params.items()) if item[0] not in WITHOUT_NUMBERS]
        whole = _hash(equation.primitive.name, *parameters, *map(of, equation.invars))
        for index, variable in enumerate(equation.outvars):
            known[variable] = f"{index} of {whole}: {variable.aval}"
    return [of(atom) for atom in jaxpr.outvars]


def _text(value: Any) -> str:
    """A parameter of a primitive. Of Python's functions nothing: they are rules of derivatives, which are traced too
    where they are used, or say what is kept for the backward pass."""
    if isinstance(value, core.ClosedJaxpr):
        return _hash(*_results(value))
    if isinstance(value, core.Jaxpr):
        return _hash(*_inner_results(value, {}))
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, Mapping):
        return _text(sorted((str(key), item) for key, item in value.items()))
    if isinstance(value, set | frozenset):
        return _text(sorted(map(_text, value)))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return array_hash(value)
    text = repr(value)
    return type(value).__name__ if callable(value) or " at 0x" in text else text


def _hash(*parts: str) -> str:
    """SHA-256, hex, of a sequence of texts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(f"{len(part)} {part}".encode())
    return whole.hexdigest()


def _summary(array: Any) -> Iterator[float]:
    """An array's values, or of many of them the size, that of the positive ones, and that with uneven weights: sums in
    which nothing cancels, so that rounding does not show."""
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    flat = np.asarray(array).ravel()
    flat = np.abs(flat) if np.iscomplexobj(flat) else flat.astype(np.float64)
    if flat.size <= MOST_VALUES:
        yield from flat.tolist()
        return
    with np.errstate(all="ignore"):
        yield float(np.sqrt(np.mean(flat**2)))
        yield float(np.mean(np.maximum(flat, 0)))
        yield float(np.sqrt(np.mean(flat**2 * np.linspace(0, 1, flat.size))))


def _rounded(value: float) -> float | str:
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)  # JSON has no infinity


def _close(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or _distance(a, b) <= TOLERANCE


def _distance(a: float, b: float) -> float:
    """Relative, and of values near zero to 0.01."""
    return abs(a - b) / max(abs(a), abs(b), 1e-2) if math.isfinite(a) and math.isfinite(b) else math.inf
