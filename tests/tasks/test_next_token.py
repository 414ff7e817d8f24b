"""Predicting the token after a window: the last prediction of causal language modelling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

from lab.tasks.language import CausalLanguage
from lab.tasks.next_token import NextToken
from lab.tasks.task import check_task
from models.mlp import MLP

TASK, WHOLE = NextToken(context=4), CausalLanguage(context=4)
BATCH = {
    "tokens": jax.random.randint(jax.random.key(0), (6, 5), 0, 256),
    "weight": jnp.ones((6, 4)).at[5, 3].set(0.0),
    "bytes": jnp.ones((6, 4)),
}
LOGITS = jax.random.normal(jax.random.key(1), (6, 256))


def test_it_is_the_last_prediction_of_causal_language_modelling():
    check_task(TASK)
    everywhere = jnp.broadcast_to(LOGITS[:, None], (6, 4, 256))
    last = {**BATCH, "weight": BATCH["weight"].at[:, :3].set(0.0)}
    expected, found = WHOLE.metrics(everywhere, last), TASK.metrics(LOGITS, BATCH)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    assert found["loss"][1] == 5  # padding does not count


def test_the_loss_is_of_the_token_after_the_window():
    certain = 100 * jax.nn.one_hot(BATCH["tokens"][:, -1], 256)
    assert float(TASK.loss(certain, BATCH)) == pytest.approx(0, abs=1e-6)
    other = {**BATCH, "tokens": BATCH["tokens"].at[:, :-1].add(1)}
    assert float(TASK.loss(LOGITS, other)) == float(TASK.loss(LOGITS, BATCH))


def test_an_mlp_reads_its_inputs():
    model = MLP(input_shape=(4,), widths=(8,), outputs=256, vocab_size=256)
    outputs, _ = model.init_with_output(jax.random.key(0), *TASK.inputs(BATCH))
    assert np.isfinite(TASK.loss(outputs, BATCH))


def test_documents_cannot_be_masked():
    with refused("documents", "'masked'", "joined", "packed"):
        NextToken(documents="masked")
