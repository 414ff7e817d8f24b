"""The study of quantization: planted costs are found, and none are made up."""

import itertools

import numpy as np
import pandas as pd
import pytest

from experiments.studies.quantization import INSTEAD, KEPT, OPTIONS, read, study
from lab.comparison.networks.quantization import OVER_SEEDS, contrasts, recipes
from lab.surgery.quantization import SITES

ARMS = [KEPT, *OPTIONS.values()]
RECIPES = ("off", "w8", "w8a8_tensor", "w4a4")


def rows(costs, saved=(0.0, 0.0), seeds=8, noise=1e-4):
    """Rows of all arms: `costs` by recipe, or by recipe and activation; and what keeping attention_values and
    feedforward_hidden saves."""
    rng = np.random.default_rng(0)
    found = []
    for arm, recipe, kept, seed in itertools.product(ARMS, RECIPES, ("", *SITES), range(seeds)):
        cost = costs.get((recipe, arm["activation"]), costs.get(recipe, 0.0))
        chance = 0 if recipe == "off" else rng.normal(0, noise)
        saving = dict(zip(("attention_values", "feedforward_hidden"), saved, strict=True)).get(kept, 0.0)
        difference = cost - saving * (recipe != "off") + chance
        beside = {"over": OVER_SEEDS, "se_seeds_and_text": 1e-4}
        found.append(arm | {"seed": seed, "recipe": recipe, "kept": kept, "difference": difference, **beside})
    return pd.DataFrame(found).assign(loss=lambda table: 2 + table["difference"])


def findings(table):
    inputs = [
        arm | {"seed": 0, "site": SITES[0], "layer": "layer_0", "kurtosis": 3.0, "max_over_median": 5.0} for arm in ARMS
    ]
    return study.findings({}, {"rows": table, "inputs": pd.DataFrame(inputs)})


def outcomes(table):
    costs, served = (contrasts(table, INSTEAD, value) for value in ("difference", "loss"))
    return {one.claim.partition(":")[0]: one.outcome for one in read(table, costs, served)}


@pytest.mark.parametrize(("cost", "outcome"), [(0.0, "yes"), (0.01, "no"), (0.00098, "inconclusive")])
def test_weights_alone_cost_nothing_within_the_margin_and_something_beyond(cost, outcome):
    assert next(iter(outcomes(rows({"w8": cost})).values())) == outcome


@pytest.mark.parametrize(
    ("costs", "outcome"),
    [
        ({"w8a8_tensor": 0.02}, "keep both"),  # all arms alike
        ({("w8a8_tensor", "swiglu"): 0.02}, "swap the activation, swap both"),
        ({("w8a8_tensor", "gelu"): 0.02}, "keep both"),  # the others cost more
    ],
)
def test_the_options_that_cost_less_are_chosen(costs, outcome):
    assert outcomes(rows(costs))["w8a8_tensor"] == outcome


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"gelu": 0.05}, "inconclusive"),  # whether another norm serves a lower loss is as open as its spread
        ({"gelu": 0.05, "layernorm": 0.05}, "no"),
        ({"gelu": -0.05}, "swap the activation, swap both"),
    ],
)
def test_the_loss_that_is_served_decides_too(change, outcome):
    table = rows({"w8": 0.0001})
    rng = np.random.default_rng(1)
    own = {(arm["activation"], arm["norm"], seed): rng.normal(0, 0.01) for arm in ARMS for seed in range(8)}
    for name, value in change.items():
        table["loss"] += value * ((table["activation"] == name) | (table["norm"] == name))
    table["loss"] += [own[key] for key in zip(table["activation"], table["norm"], table["seed"], strict=True)]
    assert outcomes(table)["an option serves a lower loss in int8 than RMSNorm with SwiGLU"] == outcome


def test_a_wide_interval_chooses_nothing():
    assert outcomes(rows({}, noise=0.01))["w8a8_tensor"] == "inconclusive"


@pytest.mark.parametrize(("saved", "outcome"), [((0.0, 0.1), "yes"), ((0.1, 0.0), "no"), ((0.1, 0.1), "inconclusive")])
def test_the_site_that_saves_most_is_found(saved, outcome):
    assert outcomes(rows({"w4a4": 0.3}, saved))["W4A4"] == outcome


def test_a_network_whose_loss_is_not_finite_leaves_the_others_their_verdict():
    table = rows({"w4a4": 0.3}, (0.0, 0.1))
    table.loc[(table["seed"] == 3) & (table["recipe"] == "w4a4") & (table["kept"] == ""), "difference"] = np.nan
    table.loc[(table["seed"] == 3) & (table["recipe"] == "w4a4") & (table["kept"] == SITES[1]), "difference"] = np.nan
    assert outcomes(table)["W4A4"] == "yes"
    table.loc[(table["seed"] == 3) & (table["recipe"] == "off"), "difference"] = np.nan
    of_recipes = recipes(table).set_index("recipe")
    assert (of_recipes.loc["off", "difference"] == 0).all()
    assert (of_recipes.loc["off", "n"] == 7).all()


def test_the_page_has_every_arm_recipe_and_site():
    found = findings(rows({"w4a4": 0.3}))
    table = found.sections["recipes"].table
    assert len(table) == len(ARMS) * len(RECIPES)
    assert set(table.loc[table["recipe"] == "off", "verdict"]) == {"baseline"}
    assert set(table.loc[table["recipe"] == "w4a4", "verdict"]) == {"worse"}
    assert len(found.sections["sites"].table) == len(ARMS) * (len(RECIPES) - 1) * len(SITES)
    assert len(found.sections["options"].table) == len(OPTIONS) * (len(RECIPES) - 1)
