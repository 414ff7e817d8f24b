"""Telemetry: known answers, the same in loops over layers, nothing in the trace unless asked for."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.probes import spectrum
from lab.probes.telemetry import in_order, record, recorded
from lab.statistics.curves.spikes import WINDOW, spikes
from models.classifier import Classifier
from models.convnet import ConvNet
from models.layers import telemetry
from models.mlp import MLP
from models.transformer import EncoderDecoder, Transformer
from models.vision import VisionTransformer
from models.wide_resnet import WideResNet

TOKENS = jax.random.randint(jax.random.key(0), (3, 8), 0, 50)
SMALL: dict[str, Any] = {"context": 8, "vocab_size": 50, "d_model": 8, "n_layers": 2, "n_heads": 2}


def normal(*shape, key=0):
    return jax.random.normal(jax.random.key(key), shape)


def seen(model, *inputs):
    """Key -> value of what a model with fresh weights records."""
    of_inputs = jax.jit(lambda *given: record(model, model.init(jax.random.key(1), *given), given))
    return jax.tree.map(np.asarray, of_inputs(*inputs))


# Quantities with known answers


def test_of_normal_numbers():
    found = telemetry.distribution(2 * normal(400, 500))
    expected = {"mean": 0, "std": 2, "share_negative": 0.5, "kurtosis": 3}
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, abs=0.02), name
    gate = telemetry.preactivation(4 * normal(400, 500))
    for name, value in {"share_positive": 0.5, "share_below_-4": 0.1587, "share_above_4": 0.1587, "std": 4}.items():
        assert float(gate[name]) == pytest.approx(value, abs=0.01), name


def test_direction_of_a_shifted_stream():
    """A constant c added to a residual of deviation 1 has the mean over RMS c / sqrt(c^2 + 1)."""
    x = normal(50, 2000)
    x = (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)
    for c in (-0.5, 0.374):
        found = telemetry.direction(x + c)
        assert float(found["mean_over_rms"]) == pytest.approx(c / (c**2 + 1) ** 0.5, abs=1e-5)
        assert float(found["rms"]) == pytest.approx((c**2 + 1) ** 0.5, abs=1e-5)
    assert float(telemetry.direction(jnp.zeros((2, 3)))["mean_over_rms"]) == 0


def test_dead_and_dormant_units():
    h = np.ones((10, 8), np.float32)
    h[:, :3], h[1:, 3] = (0, 0.01, 0.04), 0
    found = telemetry.units(jnp.asarray(h))  # the mean over the units of their mean |h| is .52, of which .025 are .013
    assert float(found["dead_share"]) == 1 / 8
    assert float(found["dormant_share"]) == 2 / 8


def test_sparsity_at_thresholds_and_at_a_truncation_error():
    h = jnp.broadcast_to(jnp.array([0.0, 0.005, 0.05, 1.0]), (6, 4))
    shares = telemetry.sparsity(h)
    assert [float(shares[f"share_within_{one}"]) for one in ("0", "0.01", "0.1")] == [0.25, 0.5, 0.75]
    # Neurons write to different outputs: to leave out the three small ones costs .05 / 1, the largest everything.
    assert float(telemetry.tail_truncation(h, kernel=jnp.eye(4))["sparsity_at_cett"]) == 0.75
    even = jnp.broadcast_to(jnp.arange(1.0, 101), (6, 100))  # left out up to k: sqrt(k^3 / 100^3) = .2 at k = 34
    assert float(telemetry.tail_truncation(even, kernel=jnp.eye(100))["sparsity_at_cett"]) == pytest.approx(
        0.34, abs=0.03
    )


def test_all_neurons_of_a_dead_layer_can_be_left_out():
    found = telemetry.tail_truncation(jnp.zeros((6, 4)), kernel=jnp.eye(4))
    assert float(found["sparsity_at_cett"]) == 1


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_the_median(size):
    x = jnp.abs(normal(size, 3)) ** 9
    assert float(telemetry.median(x)) == pytest.approx(np.sort(np.ravel(x))[(x.size - 1) // 2], rel=1e-3)


def test_positions_that_do_not_count_have_no_influence():
    x, real = normal(4, 6, 5), jnp.arange(6)[None] < jnp.array([[6], [2], [5], [1]])
    other = jnp.where(real[..., None], x, 1e3)
    for reduce in (
        *(telemetry.direction, telemetry.preactivation, telemetry.distribution, telemetry.units, telemetry.sparsity),
        partial(telemetry.tail_truncation, kernel=normal(5, 3)),
        lambda x, real: {"eigenvalues": telemetry.spectrum(x, real)},
    ):
        for name, value in reduce(x, real).items():
            np.testing.assert_allclose(reduce(other, real)[name], value, rtol=1e-5, err_msg=name)
    assert float(telemetry.preactivation(x, real)["mean"]) == pytest.approx(float(x[real].mean()), rel=1e-5)


def test_the_spectrum_is_that_of_the_covariance():
    for shape in ((60, 5), (16, 20)):  # every second position: more than features, and fewer
        x = normal(*shape) * jnp.broadcast_to(jnp.arange(1.0, shape[1] + 1), shape)
        expected = np.linalg.eigvalsh(np.cov(np.asarray(x[::2]), rowvar=False, ddof=0))[::-1]
        np.testing.assert_allclose(telemetry.spectrum(x), expected, atol=1e-3)


def test_quantities_of_a_spectrum():
    one, even = jnp.array([5.0, 0, 0, 0]), jnp.full(4, 2.0)
    apart = {name: float(value) for name, value in spectrum.quantities(one, even).items()}
    assert apart["spectral_entropy_before"] == 0
    assert apart["spectral_entropy_after"] == pytest.approx(np.log(4))
    assert (apart["participation_ratio_before"], apart["participation_ratio_after"]) == (1, 4)
    assert apart["early_enrichment_before"] == pytest.approx(1 - 1 / 4)
    assert apart["early_enrichment_after"] == pytest.approx(0)
    mixed = np.array([5, 1, 1, 1]) / 8
    entropy = -(mixed * np.log(mixed)).sum()
    assert apart["jensen_shannon"] == pytest.approx(entropy - np.log(4) / 2, rel=1e-5)
    assert float(spectrum.quantities(even, even)["jensen_shannon"]) == pytest.approx(0, abs=1e-6)


def test_spikes():
    values = np.tile([0.0, 1.0], 500)
    values[700] = values.mean() + 10 * values.std()
    assert spikes(values).mean() == 0.001
    parts = [spikes(values[start : start + 50], values[:start]) for start in range(0, 1000, 50)]
    np.testing.assert_array_equal(np.concatenate(parts), spikes(values))
    assert not spikes(np.append(np.zeros(WINDOW - 1), 9.0)).any()  # too few before it
    assert spikes(np.append(np.zeros(WINDOW), 9.0)).sum() == 1
    both = np.stack([values, values * np.nan])
    assert spikes(both).sum(axis=-1).tolist() == [1, 0]


# Inside networks


def test_without_it_the_traced_program_has_nothing_of_it(monkeypatch):
    model = Transformer(**SMALL, activation="swiglu")
    variables = model.init(jax.random.key(0), TOKENS)
    assert set(variables) == {"params"}

    def traced(**options):
        return str(jax.make_jaxpr(lambda: model.apply(variables, TOKENS, **options))())

    off = traced()
    assert "svd" in traced(mutable=["telemetry"])
    monkeypatch.setattr(telemetry, "observing", lambda module: False)
    assert traced() == traced(mutable=["telemetry"]) == off


@pytest.mark.parametrize("remat", [False, True])
def test_scanned_layers_as_unrolled(remat):
    scanned, unrolled = (seen(Transformer(**SMALL, scan=scan, remat=remat), TOKENS) for scan in (True, False))
    assert set(scanned) == set(unrolled)
    for key, value in unrolled.items():
        np.testing.assert_allclose(scanned[key], value, rtol=1e-4, atol=1e-5, err_msg=str(key))
    assert float(unrolled["layer_0", "residual", "growth"]) == 1


@pytest.mark.parametrize(
    ("model", "inputs", "layers", "sites"),
    [
        (EncoderDecoder(**SMALL), (TOKENS, TOKENS), {"encoder_layer_0", "encoder_layer_1", "layer_0", "layer_1"},
         {"feedforward/spectrum", "cross_attention/scores", "residual"}),
        (Classifier(**SMALL), (TOKENS,), {"layer_0", "layer_1"}, {"feedforward/hidden", "attention/scores"}),
        (VisionTransformer(d_model=8, n_layers=1, n_heads=2, image_size=(8, 8), patch_size=(4, 4), channels=1),
         (normal(2, 8, 8, 1),), {"layer_0"}, {"feedforward/output", "attention/input", "residual"}),
        (MLP(input_shape=(6,), widths=(5, 4), outputs=3, activation="geglu"), (normal(9, 6),), {"layer_0", "layer_1"},
         {"input", "preactivation", "value", "hidden", "spectrum"}),
        (ConvNet(widths=(4, 4), kernels=(3, 1), padding=(1, 0), pool_after=()), (normal(2, 6, 6, 3),),
         {"layer_0", "layer_1"}, {"preactivation", "hidden"}),
        (WideResNet(depth=10, widening=1, stem=2), (normal(2, 8, 8, 3),), {"block_0/layer_1", "block_2", ""},
         {"stem/hidden", "residual", "last/hidden"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_every_kind_of_network_records(model, inputs, layers, sites):
    found = jax.eval_shape(lambda *given: record(model, model.init(jax.random.key(1), *given), given), *inputs)
    assert layers <= {layer for layer, _, _ in found}
    assert sites <= {site for _, site, _ in found}
    assert all(value.shape == () for value in found.values())


def test_padding_has_no_influence_anywhere_in_a_network():
    model = EncoderDecoder(**SMALL)
    variables = model.init(jax.random.key(1), TOKENS, TOKENS)
    variables = jax.tree.map(lambda leaf: 3 * leaf, variables)  # so that scores of padding may be the largest
    real = jnp.arange(8)[None] < jnp.array([[5], [3], [1]])

    @jax.jit
    def looked(tokens):
        _, sown = model.apply(variables, tokens, tokens, real, decoder_mask=real, mutable=["telemetry"])
        return recorded(model, sown["telemetry"])

    whole = looked(TOKENS)
    for other in (0, 7, 49):
        for key, value in looked(jnp.where(real, TOKENS, other)).items():
            np.testing.assert_allclose(value, whole[key], rtol=1e-3, atol=1e-5, err_msg=str(key))


def test_a_network_of_nan_has_no_numbers():
    model = Transformer(**SMALL)
    variables = jax.tree.map(lambda leaf: leaf * np.nan, model.init(jax.random.key(1), TOKENS))
    found = jax.jit(lambda: record(model, variables, (TOKENS,)))()
    assert [key for key, value in found.items() if not np.isnan(value)] == []


class Own(nn.Module):
    """A user's own network: two layers, of which one is called twice, and a loop."""

    activation: Any = "gelu"

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="first")(x)
        telemetry.observe(self, "block_0/mine", x)
        again = Inner(name="layer_1")
        x = again(again(x))
        many = nn.scan(Inner, variable_axes={"params": 0, "telemetry": 0}, split_rngs={"params": True}, length=3)
        return many(name="loop")(x, None)[0]


class Inner(nn.Module):
    """A layer for a loop."""

    @nn.compact
    def __call__(self, x, _=None):
        x = nn.Dense(4)(x)
        telemetry.observe(self, "out", x, telemetry.units)
        telemetry.observe(self, "h1", x, telemetry.units)
        return x if _ is None and self.name == "layer_1" else (x, None)


def test_a_network_of_ones_own():
    found = seen(Own(), normal(5, 4))
    assert {"block_0", "layer_1", "_0", "_1", "_2"} == {layer for layer, _, _ in found}
    assert {("layer_1", "out", "dead_share"), ("layer_1", "out#2", "dead_share")} <= set(found)
    assert ("layer_1", "h1", "dead_share") in found
    assert {metric for layer, _, metric in found if layer == "block_0"} == {
        *("rms", "mean_over_rms", "mean", "std", "share_negative", "kurtosis", "max_over_median")
    }


def test_layers_come_in_the_order_of_their_numbers():
    layers = ["layer_10", "layer_2", "", "encoder_layer_3"]
    assert [key[0] for key in in_order([(one, "site", "metric") for one in layers])] == [
        *("", "encoder_layer_3", "layer_2", "layer_10")
    ]
