# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which change made a trained network drift, where, and does it recover?
#
# GELU was exact in training and `tanh` in the server; LayerNorm became RMSNorm and GELU became SwiGLU in one commit,
# and something drifted. Here a small GPT-2-style decoder is trained with LayerNorm and GELU, with three seeds; then
# each change is made alone and both together, and every layer is compared with the original. For your own network, a
# cell of results or a Hugging Face folder, `ablations swap FOLDER --activation ... --norm ...` does the same.

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

import ablations
from lab.experiment.experiment import grid
from lab.experiment.swapping import SIZES, pretraining
from lab.report.networks import drift, recovery
from lab.results import results

FOLDER = Path(tempfile.mkdtemp())
size = replace(SIZES["short"], d_model=32, n_layers=2, steps=200, seeds=3)
trained = pretraining("trained", "decoder", ("gelu",), size)
rows = ablations.run(trained, out=FOLDER / "trained", quiet=True).rows
CELL = FOLDER / "trained" / "cells" / grid(trained)[0].name
rows[(rows["split"] == "validation") & (rows["metric"] == "loss")].pivot_table(
    index="step", columns="seed", values="value"
).tail(3)

# %% [markdown]
# ## Another form of the same activation
#
# The tanh form is within 0.0005 of the exact one, QuickGELU within 0.021, and ReLU is another function. The KL
# divergence measures how much the predictions change, in nats per token; the loss on the test text may rise or fall.

# %%
forms = {
    form: drift.attributed(ablations.swap(CELL, form, out=FOLDER / form)).iloc[0]
    for form in ("gelu_tanh", "gelu_quick", "relu")
}
for form, row in forms.items():
    print(
        f"{form:12} KL {row['kl']:.2g}   loss {row['loss_difference']:+.2g} ({row['low']:+.2g} to {row['high']:+.2g})"
    )
assert forms["gelu_tanh"]["kl"] < forms["gelu_quick"]["kl"] < forms["relu"]["kl"]

# %% [markdown]
# ## Norm, activation, or both?
#
# SwiGLU gets the old weights as its gate, and a value of 1: so it computes SiLU at first. The RMSNorm keeps scale and
# bias and drops the centring, or has it folded into the weights first, which is exact in a decoder like this. The
# interaction is the effect of both changes minus the sum of their separate effects.

# %%
rows = ablations.swap(CELL, "swiglu", "rmsnorm", steps=30, out=FOLDER / "both", quiet=True)
drift.attributed(rows).style.format(precision=4, na_rep="").hide(axis="index")

# %%
drift.drawn(rows)

# %% [markdown]
# ## Does it recover?
#
# All of them, and the unchanged network, are trained further for a few steps on the same batches. The table shows the
# remaining difference from the unchanged network of the same seed, with its 95 % interval.

# %%
parts = {"recovery": "", "folded": ", centring folded"}
apart = [
    recovery.differences(results.read(FOLDER / "both" / name), "gelu", "layernorm", suffix)
    for name, suffix in parts.items()
]
apart = pd.concat(apart, ignore_index=True)
recovery.drawn(apart)

# %%
recovery.table(apart).style.format(precision=4, na_rep="").hide(axis="index")

# %% [markdown]
# ## Exact at the start
#
# GEGLU with a value of 1 is GELU: the swap changes nothing until it is trained. So a plain network can be given a gate
# without losing what it has learned.

# %%
gated = drift.attributed(ablations.swap(CELL, "geglu", out=FOLDER / "geglu"))
assert gated["kl"].iloc[0] < 1e-8
gated.style.hide(axis="index")
