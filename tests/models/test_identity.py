"""What a user's function computes tells it from others: nothing of how it is written does."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import identity
from models.activations import ACTIVATIONS, Activation, activation, glu_of
from models.activations.identity import identify


def defined(text, **names):
    """The `f` that a piece of text defines."""
    namespace = {"jnp": jnp, "jax": jax, "np": np, "functools": functools, **names}
    exec(text, namespace)
    return namespace["f"]


def program(function, **fields):
    return Activation("own", function, **fields).identity.program


LONG = np.linspace(0, 1, 3000, dtype=np.float32)
CHANGED = LONG.copy()
CHANGED[1500] += np.float32(1e-4)  # in the middle of what a repr leaves out
CLOSE = np.nextafter(np.float32(0.1), np.float32(1))  # 0.1 in 8 digits

# Each is a text in which THIS is replaced: by 2, again by 2, and by 3.
TEXTS = {
    "another method": """
class F:
    def __call__(self, x): return self.inner(x)
    def inner(self, x): return x ** THIS
f = F()""",
    "a constant of a class": """
class F:
    power = THIS
    def __call__(self, x): return x ** self.power
f = F()""",
    "an overridden method": """
class Base:
    def __call__(self, x): return self.inner(x)
    def inner(self, x): return x
class F(Base):
    def inner(self, x): return x ** THIS
f = F()""",
    "a bound method": """
class F:
    def apply(self, x): return x ** THIS
f = F().apply""",
    "the state of a bound method": """
class F:
    def __init__(self, power): self.power = power
    def apply(self, x): return x ** self.power
f = F(THIS).apply""",
    "an inner def": "def f(x):\n  def g(y): return y ** POWER\n  return g(x)\nPOWER = THIS",
    "an inner lambda": "POWER = THIS\ndef f(x):\n  return (lambda y: y ** POWER)(x)",
    "a comprehension": "POWER = THIS\ndef f(x):\n  return sum([x ** n for n in range(POWER)])",
    "the next line of a lambda": "f = functools.partial(lambda x, y: (\n  x\n  ** THIS), y=1)",
    "the second lambda of a line": "g, f = lambda x: x, lambda x: x ** THIS",
    "a module's function": "g = lambda x: x ** THIS\ndef f(x): return g(x)",
    "a default": "f = lambda x, n=THIS: x ** n",
    "jit": "f = jax.jit(lambda x: x ** THIS)",
    "partial": "f = functools.partial(jnp.clip, max=THIS)",
    "a rule of a derivative": """
@jax.custom_vjp
def f(x): return jnp.round(x)
f.defvjp(lambda x: (jnp.round(x), x), lambda x, slope: (slope * x ** THIS,))""",
    "a captured set": "NAMES = {'a', 'b', 'c'}\nf = lambda x: x ** (THIS + len(NAMES))",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_computed_tells_functions_apart(text):
    one, same, other = (program(defined(text.replace("THIS", str(n)))) for n in (2, 2, 3))
    assert one == same != other


@pytest.mark.parametrize(
    ("one", "other"),
    [(LONG, CHANGED), (np.float32([0.1, 0.2]), np.float32([CLOSE, 0.2])), (np.float32(0.0), np.float32(-0.0))],
    ids=["many", "close", "signed zero"],
)
def test_every_bit_of_a_captured_array_counts(one, other):
    def of(array):
        return program(lambda x: x + jnp.sum(jnp.asarray(array)) * 0 + jnp.sum(jnp.asarray(array) * jnp.asarray(array)))

    assert of(one) == of(one.copy()) != of(other)


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    # a comment\n    return jnp.tanh(x) * (x ** 2)",
        "def f(anything):\n    '''Words.'''\n    first = jnp.tanh(anything)\n    return first * anything**2",
        "f = (lambda x:\n     jnp.tanh(x)\n     * x ** 2)",
        "def f(x):\n    y = jnp.tanh(x) * x ** 2\n    unused = x ** 3\n    return y",
        "def f(x):\n    def inner(y): return jnp.tanh(y) * y ** 2\n    return inner(x)",
    ],
)
def test_how_it_is_written_does_not(text):
    assert program(defined(text)) == program(lambda x: jnp.tanh(x) * x**2)


def test_the_name_of_a_compiled_function_does_not():
    def one(x):
        return x**3

    def other(y):
        return y**3

    assert program(jax.jit(one)) == program(jax.jit(other))


def test_gated_ones_and_learned_parameters_count():
    def scaled(x, scale):
        return scale * x

    start, other = (program(scaled, parameters=(("scale", value),)) for value in (1.0, 1.00001))
    assert start != other
    gated = program(lambda gate, value: jnp.tanh(gate) * value, gated=True)
    assert gated == program(lambda a, b: jnp.tanh(a) * b, gated=True)
    assert gated != program(lambda gate, value: jnp.tanh(value) * gate, gated=True)
    assert glu_of(Activation("own", lambda x: x**3)) == glu_of(Activation("own", lambda y: y**3))


def test_activations_are_equal_where_their_functions_compute_the_same():
    one = Activation("own", lambda x: x**3)
    assert one == Activation("own", lambda y: y**3)
    assert hash(one) == hash(Activation("own", lambda y: y**3))
    assert one != Activation("own", lambda x: x**4)
    assert one != Activation("other", lambda x: x**3)
    assert one != "own"


def test_a_function_may_hold_an_array_as_wide_as_the_layer():
    slopes = np.linspace(0, 1, 24, dtype=np.float32)[None]
    assert program(lambda x: slopes * x) != program(lambda x: (slopes + 1) * x)
    assert program(lambda x, slope: slope[None] * x, parameters=(("slope", (0.5,) * 24),))


DRAWN = np.random.default_rng(0)
TOGGLE = """
on = [False]
def f(x):
    on[0] = not on[0]
    return x if on[0] else -x"""
REFUSED = {
    "glu": (jax.nn.glu, "gated=True"),
    "complex": (lambda x: x * 1j, "complex64"),
    "integers": (lambda x: x.astype(int), "int32"),
    "truth values": (lambda x: x > 0, "bool"),
    "a sum": (lambda x: x.sum(-1), r"\[8\]"),
    "a tuple": (lambda x: (x, x), "tuple"),
    "None": (lambda x: None, "None"),
    "if": (lambda x: x if x > 0 else 0 * x, "jnp.where"),
    "NumPy": (np.tanh, "jax.numpy"),
    "a Flax module": (nn.PReLU(), "parameters"),
    "two arguments": (lambda x, y: x, "'y'"),
    "printing": (defined("def f(x):\n  jax.debug.print('{}', x)\n  return x"), "side effects"),
    "a callback": (
        jax.custom_jvp(lambda x: jax.pure_callback(np.tanh, jax.ShapeDtypeStruct(x.shape, x.dtype), x)),
        "pure_callback",
    ),
    "random numbers": (lambda x: x * DRAWN.random(), "again"),
    "in turn": (defined(TOGGLE), "again"),
}
REFUSED["a callback"][0].defjvp(lambda primals, tangents: (REFUSED["a callback"][0](*primals), tangents[0]))


@pytest.mark.parametrize(("function", "word"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_an_activation_is_refused_when_it_is_made(function, word):
    with pytest.raises(ValueError, match=word) as refused:
        Activation("mine", function)
    assert "'mine'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_error_of_jax_is_the_cause():
    with pytest.raises(ValueError, match="TracerArrayConversionError: The numpy") as refused:
        Activation("mine", np.tanh)
    assert isinstance(refused.value.__cause__, jax.errors.TracerArrayConversionError)


def test_a_function_that_has_changed_since_is_refused():
    slope = [2.0]
    own = Activation("own", lambda x: slope[0] * x)
    own.check()
    slope[0] = 3.0
    with pytest.raises(ValueError, match=r"'own'.*make it again"):
        own.check()
    assert own != Activation("own", own.function)


def known(function, **changes):
    return {**json.loads(json.dumps(Activation("own", function).identity.to_json())), **changes}


def cube(x):
    return x**3


OLDER = {**identity.traced_by(), "jax": "0.9.0"}


@pytest.mark.parametrize(
    ("then", "different"),
    [
        (known(cube), False),
        (known(cube, traced_by=OLDER), False),
        (known(lambda x: x * x * x), True),
        (known(lambda x: x * x * x, traced_by=OLDER), False),
        (known(lambda x: x**3 * 1.001), True),
        (known(lambda x: x**3 * 1.001, traced_by=OLDER), True),
        (known(lambda x: jnp.exp(x), traced_by=OLDER), True),
    ],
    ids=["same", "same elsewhere", "other operations", "another trace", "another", "another elsewhere", "infinite"],
)
def test_another_version_is_told_apart_from_another_function(then, different):
    own = Activation("own", cube).identity
    assert (own.difference(then) is not None) == different


def test_a_difference_names_a_value_then_and_now():
    found = Activation("own", lambda x: x + 2).identity.difference(known(lambda x: x + 1))
    first = known(lambda x: x + 1)["values"][0]
    assert f"{first:g}, now {first + 1:g}" in found


HASHED = """
import sys
from models.activations import Activation
NAMES = {"tanh", "relu", "cube", "gelu"}
own = Activation("own", lambda x: x ** len(NAMES) if "cube" in NAMES else x)
print(own.identity.program)
"""


def test_nothing_depends_on_the_process():
    root = Path(identity.__file__).parent.parent
    programs = {
        subprocess.run(
            [sys.executable, "-c", HASHED], cwd=root, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=-1, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert len(programs) == 1


def test_built_in_activations_go_by_their_names():
    for name in ACTIVATIONS:
        activation(name).check()
        assert activation(name) == activation(name)
        assert "identity" not in vars(activation(name))  # which is where it would be kept


def test_making_an_activation_uses_no_device(monkeypatch):
    monkeypatch.setattr("jax._src.compiler.backend_compile_and_load", None)
    own = Activation("own", lambda x: jax.nn.softmax(x) * jnp.interp(x, LONG, LONG**2))
    assert own == Activation("own", lambda x: jax.nn.softmax(x) * jnp.interp(x, LONG, LONG**2))


@pytest.mark.parametrize("name", ["swiglu", "xielu", "polynorm", "softmax", "selu", "triangle_relax"])
def test_every_kind_of_formula_can_be_told(name):
    own = activation(name)
    found = identify("own", own.function, own.gated, own.parameters)
    assert found.difference(json.loads(json.dumps(found.to_json()))) is None
    assert all(isinstance(value, float | str) for value in found.values)
