"""The arms that go on from a trained network begin as the swaps of it; the studies of swaps say what they measured."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import synthetic

from experiments.studies import swap_gelu, swap_norm_activation
from lab.experiment.experiment import grid
from lab.experiment.init_from import initial_parameters
from lab.experiment.swapping import SIZES, going_on, pretraining, text_task
from lab.report.networks import drift
from lab.surgery.swap import swapped
from lab.tasks.language import CausalLanguage
from lab.tasks.masked import MaskedLanguage
from lab.tasks.spans import SpanCorruption
from models.mlp import MLP
from models.transformer import EncoderDecoder, Transformer

TOKENS = np.random.default_rng(0).integers(0, 256, (2, 8))


def trained(model, seed=2):
    """Parameters of which none is zero."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0), TOKENS)["params"])
    rng = np.random.default_rng(seed)
    return tree.unflatten([jnp.asarray(rng.normal(0.2, 0.4, leaf.shape), jnp.float32) for leaf in leaves])


@pytest.mark.parametrize(
    ("shape", "others", "norm", "fold"),
    [
        ("decoder", ("swiglu",), "rmsnorm", False),
        pytest.param("decoder", ("swiglu",), "rmsnorm", True, marks=pytest.mark.slow),
        pytest.param("encoder", ("gelu_tanh", "relu"), None, False, marks=pytest.mark.slow),
    ],
)
def test_every_arm_begins_as_the_swap_of_the_network(shape, others, norm, fold):
    first = pretraining("first", shape, ("gelu",), SIZES["smoke"])
    model = grid(first)[0].model
    params = trained(model)
    on = going_on(first, others, norm, SIZES["smoke"], fold)
    on.check()
    assert {cell.activation.name for cell in grid(on)} == {"gelu", *others}
    for cell in grid(on):
        drawn = jax.tree.map(np.zeros_like, cell.model.init(jax.random.key(0), TOKENS)["params"])
        own = initial_parameters(cell.init_from, model, params, cell.model, drawn)
        other, expected = swapped(model, params, cell.activation, cell.model.norm)
        if fold and cell.model.norm == "rmsnorm":
            other, expected = swapped(model, params, cell.activation, cell.model.norm, fold=True)
        ours, theirs = (
            jax.jit(one.apply)({"params": jax.tree.map(jnp.asarray, tree)}, TOKENS)
            for one, tree in ((cell.model, own), (other, expected))
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_going_on_begins_where_the_training_before_it_ended():
    first = pretraining("first", "decoder", ("gelu", "relu"), SIZES["smoke"])
    on = going_on(first, ("relu",), None, SIZES["smoke"])
    name = grid(first)[0].name
    assert name.startswith("gelu-")
    assert (on.init_from.weights, on.init_from.directory) == (name, f"../first/cells/{name}")
    assert on.seeds == first.seeds
    assert on.hyperparameters.learning_rate == pytest.approx(0.1 * first.learning_rates[0])


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (Transformer(), CausalLanguage),
        (Transformer(architecture="encoder", context=32), MaskedLanguage),
        (EncoderDecoder(), SpanCorruption),
    ],
)
def test_a_network_of_text_is_asked_what_its_kind_learns(model, kind):
    task = text_task(model, "stdlib", "bytes")
    assert isinstance(task, kind)
    assert task.context == min(model.context, 128)


def test_a_network_of_something_else_is_refused():
    with pytest.raises(ValueError, match="a MLP reads no text"):
        text_task(MLP(), "stdlib", "bytes")


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-0.02, 0.01, "yes"),
        (0.05, 0.2, "inconclusive"),
        (0.2, 0.3, "no"),
        (-0.3, -0.2, "no"),
        (-0.3, 0.2, "inconclusive"),
    ],
)
def test_a_change_is_held_against_the_spread_of_the_seeds(low, high, outcome):
    row = {"change": "gelu -> relu", "n": 5, "loss_difference": (low + high) / 2, "low": low, "high": high}
    verdict = swap_gelu.within("decoder", {**row, "kl": 0.1, "agreement": 0.9}, spread=0.1)
    assert verdict.outcome == outcome


def test_the_spread_of_the_seeds_is_that_within_an_activation():
    rows = synthetic.rows(activations=("gelu", "relu"), seeds=range(30))
    ends = rows[(rows["step"] == rows["step"].max()) & (rows["split"] == "validation") & (rows["metric"] == "loss")]
    found = synthetic.results(rows.assign(split=rows["split"].replace("validation", "test")))
    expected = np.sqrt(ends.groupby("activation")["value"].var().mean())
    assert swap_gelu.of_seeds(found) == pytest.approx(expected)


def rows_of(change, measure, values, **place):
    return [{"seed": seed, "change": change, "measure": measure, "value": v, **place} for seed, v in enumerate(values)]


def test_findings_tell_of_every_change_and_of_what_training_on_left():
    changes = {"norm": 0.1, "activation": 0.2, "both": 0.3, "norm, centring folded": 0.0, "both, centring folded": 0.2}
    measured = [
        row
        for change, size in changes.items()
        for measure in drift.WHOLE
        for row in rows_of(change, measure, size + np.array([0.0, 0.01, 0.02]))
    ]
    measured += [
        row
        for change in changes
        for site in ("hidden", "output", "residual")
        for kind in ("error", "cosine")
        for row in rows_of(change, f"{site}_{kind}", (0.1, 0.2, 0.3), stack="decoder", layer=0)
    ]
    axes = {"norm": ("layernorm", "rmsnorm")}
    results = synthetic.results(synthetic.rows(("gelu", "swiglu"), range(3), axes=axes))
    name = "swap_norm_activation_decoder"
    found = swap_norm_activation.study.findings(
        {f"{name}_on": results, f"{name}_folded": replace(results)}, {"drift": pd.DataFrame(measured)}
    )
    assert list(found.sections["attribution"].table["change"]) == [*changes, "interaction"]
    assert list(found.sections["recovery"].table["change"]) == [
        *("norm", "activation", "both"),
        *("norm, centring folded", "both, centring folded"),
    ]
    assert found.sections["layers"].figure is not None
