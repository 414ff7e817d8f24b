"""Norms: values and gradients of those that are functions of single numbers, and networks with and without them."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from models.layers.normalization import Norm
from models.transformer import Transformer

mpmath.mp.dps = 40
POINTS = np.concatenate([np.linspace(-9, 9, 37), [-1e4, 1e4, -1e30, 1e30, 1e-3, -1e-6, 1e-20]]).astype(np.float32)
LEARNED = {"alpha": 0.75, "shift": -0.25, "scale": 1.5, "bias": 0.125}
EXACT = {
    "dyt": lambda x, alpha, scale, bias: scale * mpmath.tanh(alpha * x) + bias,
    "derf": lambda x, alpha, shift, scale, bias: scale * mpmath.erf(alpha * x + shift) + bias,
}


def parameters(kind):
    given = {name: value for name, value in LEARNED.items() if kind == "derf" or name != "shift"}
    arrays = {name: jnp.full(1 if name in ("scale", "bias") else (), value) for name, value in given.items()}
    return given, {"params": arrays}


@pytest.mark.parametrize("kind", EXACT)
def test_values_and_gradients_are_right_everywhere(kind):
    given, variables = parameters(kind)
    apply = Norm(kind).apply
    values = apply(variables, jnp.asarray(POINTS)[:, None])[:, 0]
    f = functools.partial(EXACT[kind], **{name: mpmath.mpf(value) for name, value in given.items()})
    np.testing.assert_allclose(values, [float(f(mpmath.mpf(float(x)))) for x in POINTS], atol=3e-7)
    of_x, of_parameters = jax.vmap(
        jax.grad(lambda x, variables: apply(variables, x[None])[0], argnums=(0, 1)), in_axes=(0, None)
    )(jnp.asarray(POINTS), variables)
    for i, x in enumerate(map(float, POINTS)):
        if abs(x) > 1e3:
            assert of_x[i] == 0
            continue
        assert float(of_x[i]) == pytest.approx(float(mpmath.diff(f, x)), abs=1e-6)
        for name, value in given.items():
            slope = mpmath.diff(lambda p, name=name, x=x: EXACT[kind](x, **{**given, name: p}), value)
            assert float(of_parameters["params"][name][i].squeeze()) == pytest.approx(float(slope), abs=3e-6)


@pytest.mark.parametrize("kind", EXACT)
def test_bfloat16_is_the_rounded_float32(kind):
    _, variables = parameters(kind)
    x = jnp.linspace(-9, 9, 145).astype(jnp.bfloat16)[:, None]
    narrow, wide = (Norm(kind).apply(variables, given) for given in (x, x.astype(jnp.float32)))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))


def test_their_parameters_and_first_values():
    x = jnp.ones((2, 3))
    for kind, first in (("dyt", jnp.tanh(0.5)), ("derf", jax.lax.erf(0.5))):
        y, variables = Norm(kind).init_with_output(jax.random.key(0), x)
        assert set(variables["params"]) == {"alpha", "scale", "bias"} | ({"shift"} if kind == "derf" else set())
        np.testing.assert_allclose(y, jnp.full((2, 3), first), rtol=1e-6)
        bare = Norm(kind, use_scale=False).init(jax.random.key(0), x)["params"]
        assert not {"scale", "bias"} & set(bare)
    assert "bias" not in Norm("rmsnorm").init(jax.random.key(0), x)["params"]


def test_without_a_residual_a_block_gives_its_last_layers_output():
    model = Transformer(vocab_size=7, context=6, d_model=8, n_layers=1, n_heads=2, residual="none", final_norm=False)
    tokens = jnp.arange(6)[None]
    variables = model.init(jax.random.key(0), tokens)
    _, sown = model.apply(variables, tokens, capture_intermediates=True)
    layer = sown["intermediates"]["layer_0"]
    np.testing.assert_array_equal(layer["__call__"][0], layer["feedforward"]["__call__"][0])
    np.testing.assert_allclose(
        layer["feedforward_norm"]["__call__"][0],
        Norm().apply({"params": variables["params"]["layer_0"]["feedforward_norm"]}, layer["attention"]["__call__"][0]),
        rtol=1e-6,
    )
