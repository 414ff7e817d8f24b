"""Activations: right values and gradients everywhere, names that can be compared, stored and hashed."""

import functools
import math
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pandas as pd
import pytest
from marks import slow_but
from refusals import refused

from lab.report.figures import HUES, line_styles
from models.activations import ACTIVATIONS, Activation, activation, glu_of

mpmath.mp.dps = 40
GELU_SCALE = 2 * mpmath.sqrt(2 / mpmath.pi)
SELU_SCALE, SELU_ALPHA = mpmath.mpf("1.0507009873554804934"), mpmath.mpf("1.6732632423543772848")
FLOAT32_MAX = float(np.finfo(np.float32).max)


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def softplus(x):
    return mpmath.log1p(mpmath.exp(x)) if x < 100 else x + mpmath.exp(-x)


def xielu(x, alpha_p, alpha_n):
    p, n, b = softplus(alpha_p), 0.5 + softplus(alpha_n), mpmath.mpf("0.5")
    return p * x**2 + b * x if x > 0 else n * mpmath.expm1(x) - n * x + b * x


def polyrelu(x, weight, bias):
    r = max(x, 0)
    return weight[0] * r**3 + weight[1] * r**2 + weight[2] * r + bias


def elish_below(x):
    return mpmath.expm1(x) * sigmoid(x)


def exact_gelu(x):
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


GELU_LOWEST = mpmath.findroot(lambda x: mpmath.diff(exact_gelu, x), -0.75)


def smooth_relu2(x, constant):
    root = mpmath.hypot(x, constant)
    return x * (x + root) / 2 if x > 0 else x * constant**2 / (root - x) / 2


def wave(function, signs_and_divisors):
    return lambda x: sum(function((2 * i + 1) * x) / mpmath.mpf(d) for i, d in enumerate(signs_and_divisors))


# name -> the function in exact arithmetic, its limits at -inf and inf, its left derivative at 0 if it has a kink there.
INF = math.inf
REFERENCES = {
    "relu": (lambda x: max(x, 0), (0, INF), 0),
    "gelu": (lambda x: exact_gelu(x), (0, INF), None),
    "gelu_tanh": (lambda x: x * sigmoid(GELU_SCALE * (x + mpmath.mpf("0.044715") * x**3)), (0, INF), None),
    "gelu_quick": (lambda x: x * sigmoid(mpmath.mpf("1.702") * x), (0, INF), None),
    "silu": (lambda x: x * sigmoid(x), (0, INF), None),
    "elu": (lambda x: x if x > 0 else mpmath.expm1(x), (-1, INF), None),
    "selu": (
        lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mpmath.expm1(x)),
        (-1.7580993, INF),
        float(SELU_SCALE * SELU_ALPHA),
    ),
    "leaky_relu": (lambda x: x if x > 0 else x / 100, (-INF, INF), 0.01),
    "softplus": (softplus, (0, INF), None),
    "mish": (lambda x: x * mpmath.tanh(softplus(x)), (0, INF), None),
    "sigmoid": (sigmoid, (0, 1), None),
    "tanh": (mpmath.tanh, (-1, 1), None),
    "identity": (lambda x: x, (-INF, INF), None),
    "hard_swish": (lambda x: x * min(max(x + 3, 0), 6) / 6, (0, INF), None),
    "relu2": (lambda x: max(x, 0) ** 2, (0, INF), None),
    "prelu": (lambda x, slope: x if x > 0 else slope * x, (-INF, INF), 0.25),
    "swish_beta": (lambda x, beta: x * sigmoid(beta * x), (0, INF), None),
    "xielu": (xielu, (INF, INF), None),
    "polyrelu": (polyrelu, (0, INF), 0),
    "softsign": (lambda x: x / (1 + abs(x)), (-1, 1), None),
    "bipolar_sigmoid": (lambda x: 2 * sigmoid(x) - 1, (-1, 1), None),
    "softplusmone": (lambda x: softplus(x) - 1, (-1, INF), None),
    "tanhshrink": (lambda x: x - mpmath.tanh(x), (-INF, INF), None),
    "tanhexp": (lambda x: x * mpmath.tanh(mpmath.exp(min(x, 100))), (0, INF), None),
    "lisht": (lambda x: x * mpmath.tanh(x), (INF, INF), None),
    "roottanh": (lambda x: mpmath.cbrt(x**2 + 1) * mpmath.tanh(x), (-INF, INF), None),
    "maxtanh": (lambda x: max(x, mpmath.tanh(x)), (-1, INF), None),
    "maxsig": (lambda x: max(x, sigmoid(x)), (0, INF), None),
    "elish": (lambda x: x * sigmoid(x) if x > 0 else elish_below(x), (0, INF), None),
    "elish_gpt_neo": (lambda x: x * sigmoid(-x) if x > 0 else elish_below(x), (0, 0), None),
    "abs": (abs, (INF, INF), -1),
    "spike": (lambda x: 1 / (1 + x**2), (0, 0), None),
    "spike2": (lambda x: mpmath.exp(-(x**2)), (0, 0), None),
    "seagull": (lambda x: mpmath.log1p(x**2), (INF, INF), None),
    "snake": (lambda x: x + mpmath.sin(x) ** 2, (-INF, INF), None),
    "cosid": (lambda x: mpmath.cos(x) - x, (INF, -INF), None),
    "minsin": (lambda x: min(x, mpmath.sin(x)), (-INF, math.nan), None),
    "square_relax": (wave(mpmath.cos, (1, -3, 5, -7)), (math.nan, math.nan), None),
    "triangle_relax": (wave(mpmath.sin, (1, -9, 25, -49)), (math.nan, math.nan), None),
    "golu": (lambda x: x * mpmath.exp(-mpmath.exp(-x)) if x > -100 else mpmath.mpf(0), (0, INF), None),
    "gelu_monotone": (lambda x: exact_gelu(max(x, GELU_LOWEST)), (-0.16997121, INF), None),
    "gelu_sine": (lambda x: exact_gelu(x) + mpmath.sin(x) / 10, (math.nan, INF), None),
    "soi": (lambda x: exact_gelu(x), (0, INF), None),
    "leaky_relu2": (lambda x, constant: (x if x > 0 else constant * x) ** 2, (INF, INF), None),
    "smooth_relu2": (lambda x, constant: smooth_relu2(x, constant), (-0.01, INF), None),
}
POINTWISE = [*REFERENCES, "polynorm", "softmax", "log_softmax"]
FEW_GATED = [*POINTWISE, "geglu", "swish_beta_glu", "swiglu_clamped"]
EVERYWHERE = np.concatenate(
    [
        np.linspace(-14, 14, 113),
        [
            side * size
            for side in (-1, 1)
            for size in (20, 40, 87, 1e4, 1e30, FLOAT32_MAX, 1e-3, 1e-6, 1e-20, 2e-38, 1e-40)
        ],
    ]
).astype(np.float32)


def initial(name):
    return {key: jnp.asarray(value, jnp.float32) for key, value in activation(name).parameters}


def exact(name):
    """The reference with the initial parameters, as the float32 numbers that the function gets."""
    values = {
        key: [mpmath.mpf(float(v)) for v in value] if value.ndim else mpmath.mpf(float(value))
        for key, value in initial(name).items()
    }
    return functools.partial(REFERENCES[name][0], **values)


def evaluate(name, x):
    return np.asarray(jax.jit(functools.partial(activation(name), **initial(name)))(jnp.asarray(x)))


def gradients(name, x):
    return np.asarray(jax.jit(jax.vmap(jax.grad(functools.partial(activation(name), **initial(name)))))(jnp.asarray(x)))


def derivatives(name, points):
    """Exact derivatives; at a kink that of the left side, for hard_swish that of PyTorch."""
    f, kink = exact(name), REFERENCES[name][2]
    for x in map(float, points):
        if kink is not None and abs(x) < np.finfo(np.float32).tiny:  # XLA counts a subnormal as 0
            yield mpmath.mpf(kink)
        elif name == "hard_swish" and abs(x) == 3:
            yield mpmath.mpf(x > 0)
        else:
            yield derivative(f, mpmath.mpf(x))


def derivative(f, x):
    """A central difference with 150 digits: mpmath.diff steps over the kink from tiny x."""
    with mpmath.workdps(150):
        h = (abs(x) or 1) * mpmath.mpf(10) ** -60  # 3e-22 at the largest x: far below a period of the sines
        return (f(x + h) - f(x - h)) / (2 * h)


def assert_near(actual, expected, tolerance, x):
    """Same sign, inf where float32 ends and only there, else within the tolerance."""
    if abs(expected) > FLOAT32_MAX + 2**103:  # half a unit in the last place
        assert actual == math.copysign(INF, expected), x
        return
    assert math.isfinite(actual), x
    assert abs(mpmath.mpf(float(actual)) - expected) <= tolerance, (x, actual, float(expected))
    assert actual * mpmath.sign(expected) >= 0, (x, actual, float(expected))


@pytest.mark.parametrize("name", REFERENCES)
def test_values_are_right_everywhere(name):
    f = exact(name)
    for x, actual in zip(EVERYWHERE, evaluate(name, EVERYWHERE), strict=True):
        expected = f(mpmath.mpf(float(x)))
        four_units = mpmath.ldexp(1, mpmath.frexp(expected)[1] - 22)  # in the last of 24 places
        assert_near(actual, expected, max(four_units, 2e-7 * max(1.0, abs(float(x)))), x)
        if 1e-30 < abs(expected) <= FLOAT32_MAX:
            assert abs(mpmath.mpf(float(actual)) / expected - 1) < 1e-4, (x, actual, float(expected))


@pytest.mark.parametrize("name", REFERENCES)
def test_gradients_are_right_everywhere(name):
    rows = zip(EVERYWHERE, gradients(name, EVERYWHERE), derivatives(name, EVERYWHERE), strict=True)
    for x, actual, expected in rows:
        assert_near(actual, expected, 1e-6 * max(1, abs(expected)), x)


@pytest.mark.parametrize("name", REFERENCES)
def test_limits_at_infinity(name):
    np.testing.assert_allclose(evaluate(name, [-np.inf, np.inf]), REFERENCES[name][1], rtol=1e-6)


@pytest.mark.parametrize("name", slow_but(FEW_GATED, ACTIVATIONS))
def test_nan_stays_nan(name):
    f = functools.partial(activation(name), **initial(name))
    one, nan = jnp.ones(1), jnp.full(1, jnp.nan)
    calls = [(nan, one), (one, nan)] if f.func.gated else [(nan,)]
    assert all(jnp.isnan(f(*inputs)).all() for inputs in calls)


SMOOTH = ["gelu", "gelu_tanh", "gelu_quick", "silu", "mish", "swish_beta", "softplus", "tanhshrink", "lisht", "golu"]


@pytest.mark.parametrize(
    "name", [*SMOOTH, "roottanh", "seagull", "snake", "square_relax", "triangle_relax", "gelu_sine", "smooth_relu2"]
)
def test_second_derivatives(name):
    x = jnp.linspace(-5, 5, 41)
    actual = jax.jit(jax.vmap(jax.grad(jax.grad(functools.partial(activation(name), **initial(name))))))(x)
    expected = [float(mpmath.diff(exact(name), mpmath.mpf(float(v)), 2)) for v in x]
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["prelu", "swish_beta", "xielu", "polyrelu"])
def test_gradients_of_learned_parameters(name):
    x = np.linspace(-6, 6, 49).astype(np.float32)
    parameters = initial(name)
    actual = jax.vmap(jax.grad(lambda p, v: activation(name)(v, **p)), in_axes=(None, 0))(parameters, x)
    for i, v in enumerate(x):
        arguments = exact(name).keywords
        for key, value in arguments.items():
            for j in range(len(value) if isinstance(value, list) else 1):

                def at(p, key=key, value=value, j=j, v=v, arguments=arguments):
                    changed = [*value[:j], p, *value[j + 1 :]] if isinstance(value, list) else p
                    return REFERENCES[name][0](mpmath.mpf(float(v)), **{**arguments, key: changed})

                expected = float(derivative(at, value[j] if isinstance(value, list) else value))
                got = float(actual[key][i, j] if isinstance(value, list) else actual[key][i])
                assert abs(got - expected) <= 2e-6 * max(1, abs(expected)), (key, j, v, got, expected)


def polynorm_in_float64(x, weight, bias):
    def normalized(power):
        return power / np.sqrt(np.mean(power**2, axis=-1, keepdims=True) + 1e-6)

    return weight[0] * normalized(x**3) + weight[1] * normalized(x**2) + weight[2] * normalized(x) + bias


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 30.0, 1e4])
def test_polynorm_and_its_gradient(scale):
    x, c = (np.random.default_rng(seed).normal(size=(3, 8)) * size for seed, size in ((0, scale), (1, 1.0)))
    weight, bias = np.array([0.5, -0.25, 1.0]), 0.125
    f = functools.partial(activation("polynorm"), weight=jnp.float32(weight), bias=jnp.float32(bias))
    np.testing.assert_allclose(f(jnp.float32(x)), polynorm_in_float64(x, weight, bias), rtol=2e-6, atol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(f(x) * c.astype(np.float32)))(jnp.float32(x))
    h = 1e-6 * scale
    for i in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[i] = h
        ends = [polynorm_in_float64(x + s * step, weight, bias) for s in (-1, 1)]
        np.testing.assert_allclose(gradient[i], ((ends[1] - ends[0]) * c).sum() / (2 * h), rtol=1e-3, atol=1e-5 / scale)


def test_polynorm_does_not_overflow():
    x = jnp.array([[1e30, -2e30, 3e30], [FLOAT32_MAX, 1.0, 0.0]])
    value, gradient = jax.value_and_grad(lambda x: activation("polynorm")(x, **initial("polynorm")).sum())(x)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("name", slow_but(FEW_GATED, ACTIVATIONS))
def test_bfloat16_is_the_rounded_float32(name):
    x = jnp.linspace(-12, 12, 385).astype(jnp.bfloat16)
    inputs = (x, x[::-1]) if activation(name).gated else (x,)
    narrow = activation(name)(*inputs, **initial(name))
    wide = activation(name)(*(v.astype(jnp.float32) for v in inputs), **initial(name))
    assert narrow.dtype == jnp.bfloat16
    assert wide.dtype == jnp.float32
    np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e30])
def test_softmax_is_along_the_hidden_axis(scale):
    x = jnp.float32(np.random.default_rng(0).normal(size=(2, 3, 5)) * scale)
    wide = np.float64(x) - np.float64(x).max(-1, keepdims=True)
    logarithm = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    np.testing.assert_allclose(activation("log_softmax")(x), logarithm, rtol=2e-6, atol=2e-7)
    np.testing.assert_allclose(activation("softmax")(x), np.exp(logarithm), rtol=2e-5, atol=1e-37)
    probabilities, c = np.exp(logarithm), np.random.default_rng(1).normal(size=x.shape)
    slopes = {
        "softmax": probabilities * (c - (c * probabilities).sum(-1, keepdims=True)),
        "log_softmax": c - c.sum(-1, keepdims=True) * probabilities,
    }
    for name, expected in slopes.items():
        gradient = jax.grad(lambda x, name=name: jnp.sum(activation(name)(x) * np.float32(c)))(x)
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


MOMENTS = {  # E f(z), E f(z)^2 under z ~ N(0, 1)
    "relu": (0.398942, 0.5),
    "gelu": (0.282095, 0.425221),
    "gelu_tanh": (0.282039, 0.425194),
    "gelu_quick": (0.282331, 0.421953),
    "silu": (0.206621, 0.355776),
    "relu2": (0.5, 1.5),
    "elu": (0.160521, 0.644945),
    "selu": (0, 1),
    "softplus": (0.806059, 0.921246),
    "mish": (0.240404, 0.452342),
    "sigmoid": (0.5, 0.293379),
    "tanh": (0, 0.394294),
    "xielu": (0.528416, 1.735515),
    "polyrelu": (0.565609, 2.275427),
    "golu": (0.258856, 0.319634),
    "gelu_sine": (0.282095, 0.490198),
    "leaky_relu2": (0.625, 1.59375),
    "smooth_relu2": (0.5, 1.51),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_under_a_normal_distribution(name):
    z = np.linspace(-12, 12, 48_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    f = evaluate(name, z.astype(np.float32)).astype(np.float64)
    moments = [np.trapezoid(power * density, z) for power in (f, f**2)]
    np.testing.assert_allclose(moments, MOMENTS[name], atol=1e-6)


@pytest.mark.parametrize(("name", "largest", "at"), [("gelu_tanh", 0.000473, 2.699), ("gelu_quick", 0.020335, 2.270)])
def test_distance_of_the_approximations_from_gelu(name, largest, at):
    x = np.linspace(0, 6, 60_001).astype(np.float32)
    distance = np.abs(evaluate(name, x) - evaluate("gelu", x))
    assert distance.max() == pytest.approx(largest, abs=5e-7)
    assert x[distance.argmax()] == pytest.approx(at, abs=0.02)


@pytest.mark.parametrize("name", POINTWISE)
def test_a_gated_unit_multiplies_the_activated_gate_by_the_value(name):
    gate, value = jax.random.normal(jax.random.key(0), (2, 4, 5))
    gated = glu_of(name)
    np.testing.assert_array_equal(gated(gate, value, **initial(name)), activation(name)(gate, **initial(name)) * value)
    assert gated == activation(gated.name) == glu_of(activation(name))
    assert gated.gated
    assert gated.parameters == activation(name).parameters


def test_gated_units_have_their_names_from_the_paper():
    pairs = {"sigmoid": "glu", "identity": "bilinear", "relu": "reglu", "gelu": "geglu", "silu": "swiglu"}
    assert {name: glu_of(name).name for name in pairs} == pairs
    assert glu_of("mish").name == "mish_glu"
    with pytest.raises(ValueError, match="already gated"):
        glu_of("swiglu")


def test_a_stochastic_activation_draws_one_of_two_values_with_gelu_as_its_mean():
    x, f = jnp.array([-3.0, -1.0, 0.5, 2.0, jnp.nan, -jnp.inf]), activation("soi")
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.vmap(lambda key: f.sample(key, x))(keys)
    assert ((draws[:, :4] == 0) | (draws[:, :4] == x[None, :4])).all()
    error = jnp.abs(x) * 0.5 / len(keys) ** 0.5
    assert (jnp.abs(draws.mean(0) - activation("gelu")(x))[:4] < 4 * error[:4]).all()
    assert jnp.isnan(draws[:, 4]).all()
    assert (draws[:, 5] == 0).all()
    slopes = jax.vmap(lambda key: jax.grad(lambda x: f.sample(key, x)[:4].sum())(x))(keys)
    np.testing.assert_array_equal(slopes[:, :4], draws[:, :4] != 0)
    gate, gated = x[:4], activation("soi_glu")
    np.testing.assert_array_equal(gated.sample(keys[0], gate, 3 * gate), f.sample(keys[0], gate) * 3 * gate)
    np.testing.assert_array_equal(activation("relu").sample(keys[0], gate), activation("relu")(gate))


def test_another_draw_is_another_activation():
    own = [Activation("own", jnp.tanh, sampled=draw) for draw in (lambda key, x: x, lambda key, x: -x)]
    assert own[0] != own[1] != Activation("own", jnp.tanh)


def test_a_draw_of_another_shape_or_type_is_refused():
    for draw in (lambda key, x: x.sum(), lambda key, x: x > 0, lambda x: x):
        with refused("own", "sampled"):
            Activation("own", jnp.tanh, sampled=draw)


@pytest.mark.parametrize("name", ["leaky_relu2", "smooth_relu2"])
def test_a_constant_is_not_learned_and_zero_gives_squared_relu(name):
    x, f = jnp.linspace(-3, 3, 25), activation(name)
    assert jax.grad(lambda constant: f(x, constant=constant).sum())(0.5) == 0
    value, backward = jax.vjp(lambda x: f(x, constant=jnp.float32(0)), x)
    np.testing.assert_allclose(value, activation("relu2")(x), rtol=1e-6)
    np.testing.assert_allclose(backward(jnp.ones_like(x))[0], 2 * jnp.maximum(x, 0), rtol=1e-6)


def test_clamped_swiglu():
    gate, value = jnp.array([-20.0, -1.0, 0.5, 7.0, 9.0, 1e30]), jnp.array([3.0, -9.0, 0.5, 7.0, 8.0, -1e30])
    clamped = activation("swiglu_clamped")
    g, u = np.minimum(np.float64(gate), 7), np.clip(np.float64(value), -7, 7)
    np.testing.assert_allclose(clamped(gate, value), (u + 1) * g / (1 + np.exp(-1.702 * g)), rtol=1e-6)
    slopes = jax.grad(lambda g, u: clamped(g, u).sum(), argnums=(0, 1))(gate, value)
    assert [bool(s) for s in slopes[0] != 0] == [True, True, True, True, False, False]
    assert [bool(s) for s in slopes[1] != 0] == [True, False, True, True, False, False]


def test_wrong_calls_are_refused():
    with pytest.raises(TypeError, match=r"Activation\('gelu'\).*2 arrays"):
        activation("gelu")(jnp.ones(2), jnp.ones(2))
    with pytest.raises(TypeError, match=r"\(gate, value\).*1 array"):
        activation("geglu")(jnp.ones(2))


def test_names():
    assert activation("swish") == activation("silu")
    assert activation(activation("gelu")) is activation("gelu")
    assert repr(activation("gelu")) == "Activation('gelu')"
    assert len(set(ACTIVATIONS)) == len(ACTIVATIONS) == 97
    with refused("activation", "gelo", "gelu"):
        activation("gelo")
    for name in ("", "Cube", "a/b", "a b", "../a"):
        with pytest.raises(ValueError, match="activation name"):
            Activation(name, jnp.tanh)
    with pytest.raises(ValueError, match="activation 'own': parameters must be"):
        Activation("own", jnp.tanh, parameters=(("a slope", 0.1),))
    for name in ("relu", "swish", "mish_glu"):
        with pytest.raises(ValueError, match=f"'{name}': it is built in"):
            Activation(name, jnp.tanh)


def cube(x):
    return x**3


CUBE = Activation("cube", cube)


@pytest.mark.parametrize("value", [*map(activation, ACTIVATIONS), CUBE, glu_of(CUBE)], ids=str)
def test_activations_survive_pickling(value):
    copy = pickle.loads(pickle.dumps(value))
    assert copy == value
    assert hash(copy) == hash(value)


def test_equal_activations_share_one_trace():
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def apply(f, *inputs):
        traces.append(f)
        return f(*inputs)

    x = jnp.ones(3)
    apply(activation("gelu"), x)
    apply(pickle.loads(pickle.dumps(activation("gelu"))), x)
    apply(Activation("cube", cube), x)
    apply(Activation("cube", cube), x)
    apply(glu_of(Activation("cube", cube)), x, x)
    apply(glu_of(Activation("cube", cube)), x, x)
    assert [f.name for f in traces] == ["gelu", "cube", "cube_glu"]


def test_a_users_activation():
    own = Activation("cube", lambda x: x**3)
    np.testing.assert_array_equal(own(jnp.array([-2.0, 3.0])), [-8.0, 27.0])
    scaled = Activation("scaled", lambda x, scale: scale * x, parameters=(("scale", 2.0),))
    assert glu_of(scaled)(jnp.ones(2), 3 * jnp.ones(2), scale=jnp.float32(5.0)).tolist() == [15.0, 15.0]


PUBLISHED = Path(__file__).parents[2] / "experiments" / "studies" / "activation_zoo_published.csv"


def test_every_activation_of_the_published_ablation_is_built_in():
    published = pd.read_csv(PUBLISHED)
    assert len(published) == 30
    assert set(published["name"]) <= set(ACTIVATIONS)
    assert published["lambada_perplexity"].is_monotonic_increasing
    assert published["name"][published["bits_per_byte"].idxmin()] == "gelu_tanh"


def test_no_two_lines_of_one_figure_look_the_same():
    pointwise = [name for name in ACTIVATIONS if not activation(name).gated]
    gated = [name for name in ACTIVATIONS if activation(name).gated]
    for names in (pointwise, pd.read_csv(PUBLISHED)["name"]):
        looks = {(style["color"], style["linestyle"]) for style in line_styles(list(names)).values()}
        assert len(looks) == len(names)
    assert set(pointwise) <= set(HUES)
    assert list(line_styles([*pointwise, *gated])) == list(ACTIVATIONS)
