"""Logits in portions, against all at once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

from lab.probes.cost import cost
from lab.tasks.language import CausalLanguage
from lab.tasks.masked import MaskedLanguage
from lab.training import step
from lab.training.settings import Hyperparameters, Settings
from models.generation import generate
from models.layers.logits import Logits
from models.transformer import Transformer

VOCAB, LENGTH, BATCH = 97, 8, 3
TASK = CausalLanguage(context=LENGTH)
FIELDS = {"vocab_size": VOCAB, "context": LENGTH, "d_model": 16, "n_layers": 1, "n_heads": 2}
WINDOWS = {"tokens": jnp.asarray(np.random.default_rng(0).integers(VOCAB, size=(BATCH, LENGTH + 1)), jnp.int32)}
OUTPUTS = [{}, {"tied": False, "head_bias": True}, {"logit_cap": 3.0, "head_bias": True}]


def loss(model, parameters):
    return TASK.loss(model.apply(parameters, *TASK.inputs(WINDOWS)), WINDOWS)


def pair(**fields):
    whole = Transformer(**FIELDS, **fields)
    parameters = jax.jit(whole.init)(jax.random.key(0), *TASK.inputs(WINDOWS))
    return whole, whole.clone(logit_chunk=5), jax.tree.map(lambda x: x + 0.3, parameters)  # 5 does not divide 24


@pytest.mark.parametrize("fields", [OUTPUTS[2], *(pytest.param(one, marks=pytest.mark.slow) for one in OUTPUTS[:2])])
def test_loss_and_gradient_are_those_of_the_whole(fields):
    whole, portions, parameters = pair(**fields)
    expected, actual = (jax.jit(jax.value_and_grad(lambda p, m=m: loss(m, p)))(parameters) for m in (whole, portions))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), expected, actual)


@pytest.mark.parametrize("fields", OUTPUTS[1:])
def test_the_same_parameters_are_drawn(fields):
    whole, portions, _ = pair(**fields)
    expected, actual = (jax.jit(m.init)(jax.random.key(1), *TASK.inputs(WINDOWS)) for m in (whole, portions))
    jax.tree.map(np.testing.assert_array_equal, expected, actual)


def sizes(model, parameters):
    """How many numbers each array of the loss's gradient has."""
    text = jax.jit(jax.grad(lambda p: loss(model, p))).lower(parameters).as_text()
    shapes = {part.split(">")[0] for part in text.split("tensor<")[1:]}
    return {int(np.prod([int(n) for n in shape.split("x")[:-1]])) for shape in shapes if "x" in shape}


def test_not_all_of_them_are_ever_formed():
    whole, portions, parameters = pair()
    logits = BATCH * LENGTH * VOCAB
    assert max(sizes(whole, parameters)) >= logits
    assert max(sizes(portions, parameters)) < logits


@pytest.mark.parametrize("task", [TASK, MaskedLanguage(context=LENGTH)], ids=["causal", "masked"])
def test_all_metrics_come_from_one_pass_and_are_those_of_the_whole(task):
    rng = np.random.default_rng(2)
    text = {"tokens": rng.integers(256, size=50, dtype=np.uint8), "bytes": np.ones(50, np.uint8)}
    batch = {field: jnp.asarray(rows[0]) for field, rows in task.evaluation_batches(text, BATCH).items()}
    hidden, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((BATCH, LENGTH, 4), (4, 257)))
    portions = Logits(hidden, kernel, None, None, 5)
    assert str(jax.make_jaxpr(task.metrics)(portions, batch)).count("dot_general") == 1
    expected, actual = (jax.jit(task.metrics)(outputs, batch) for outputs in (jnp.asarray(portions), portions))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), expected, actual)


@pytest.mark.slow
def test_an_update_is_the_same_with_z_loss():
    whole, portions, _ = pair()
    settings, hyperparameters = Settings(steps=1, batch_size=BATCH, z_loss=0.1), Hyperparameters()
    data = {"train": {"tokens": jnp.asarray(np.random.default_rng(1).integers(VOCAB, size=1000), jnp.uint8)}}
    ends = []
    for model in (whole, portions):
        arguments = (model, TASK, settings)
        state = jax.jit(partial(step.init, *arguments))(jnp.uint32(0), hyperparameters, data)
        update = jax.jit(partial(step.train_interval, *arguments))
        state, _ = update(state, jnp.int32(0), jnp.int32(1), jnp.uint32(0), hyperparameters, data)
        ends.append(state.parameters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *ends)


def test_the_cost_counts_the_output_layer_all_the_same():
    whole, portions, _ = pair()
    inputs = jax.eval_shape(lambda: TASK.inputs(WINDOWS))
    assert cost(portions, inputs)["flops_per_token"] == cost(whole, inputs)["flops_per_token"]


def test_generation_is_the_same():
    whole, portions, parameters = pair()
    prompt = WINDOWS["tokens"][:, :3]
    np.testing.assert_array_equal(*(generate(model, parameters["params"], prompt, 2) for model in (whole, portions)))


def test_a_negative_portion_is_refused():
    with refused("logit_chunk", -1, 0):
        Transformer(**FIELDS, logit_chunk=-1).check()
