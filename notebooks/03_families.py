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
# # What does the activation of a pretrained network do?
#
# A published network is a folder with `config.json` and `model.safetensors`. Here one is loaded, inspected, used to
# generate text, and given other activations than it was trained with. Set `FOLDER` to your own, such as a download of
# GPT-2; without one, a network with GPT-2's architecture is trained for a minute on the source of Python's standard
# library, byte by byte, and saved as such a folder.

# %%
import os
import tempfile
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lab.probes.cost import parameters
from lab.tasks.language import CausalLanguage
from lab.training import step
from lab.training.settings import Hyperparameters, Settings
from models import pretrained
from models.families import FAMILIES, family
from models.generation import generate

FOLDER = os.environ.get("PRETRAINED_FOLDER")

# %% [markdown]
# ## Families
#
# All families are one stack of blocks with different fields. Any field can be overridden; `d_ff` then keeps the number
# of parameters unless you set it.

# %%
pd.Series({name: ", ".join(sizes) for name, (_, _, sizes) in FAMILIES.items()}).to_frame("sizes")

# %%
tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
rows = []
for activation in ("gelu_tanh", "relu", "swiglu"):
    model = family("gpt2", "small", activation=activation)
    rows.append({"activation": activation, "d_ff": model.hidden_width, "parameters": parameters(model, tokens)})
pd.DataFrame(rows).set_index("activation").style.format("{:,}")

# %% [markdown]
# ## A folder
#
# Batches of a task are functions of (seed, step); `train_interval` is the same pure function that experiments run.

# %%
task = CausalLanguage(context=64)
data = jax.tree.map(jnp.asarray, task.load().arrays)
settings, hyperparameters = Settings(steps=400, batch_size=16), Hyperparameters(learning_rate=3e-3)

if FOLDER is None:
    small = {"vocab_size": 256, "context": 256, "d_model": 64, "n_layers": 3, "n_heads": 4, "initialization": "lecun"}
    model = family("gpt2", "small", **small)
    state = step.init(model, task, settings, 0, hyperparameters, data)
    train = jax.jit(partial(step.train_interval, model, task, settings))
    state, means = train(state, 0, jnp.int32(settings.steps), 0, hyperparameters, data)
    FOLDER = tempfile.mkdtemp()
    pretrained.save(FOLDER, model, state.parameters)
    print(f"mean training loss {means['loss']:.3f} nats")

model, params = pretrained.load(FOLDER)
print(sorted(os.listdir(FOLDER)))
print(model)

# %% [markdown]
# ## Inside
#
# Every feed-forward layer sows its hidden values, which cost nothing unless they are requested. How many of them are
# almost zero, and how large do they become?

# %%
windows = task.evaluation_batches({name: np.asarray(array) for name, array in data["validation"].items()}, 16)
batch = {name: jnp.asarray(array[0]) for name, array in windows.items()}
if model.vocab_size < task.vocab_size:
    raise ValueError("the network knows fewer tokens than there are bytes")
apply = jax.jit(partial(model.apply, mutable=["intermediates"]))
_, seen = apply({"params": params}, *task.inputs(batch))
hidden = {
    name: np.asarray(layer["feedforward"]["hidden"][0]).ravel()
    for name, layer in seen["intermediates"].items()
    if name.startswith("layer_")
}
pd.DataFrame(
    {
        name: {
            "share below 0": (values < 0).mean(),
            "share within 0.05 of 0": (np.abs(values) < 0.05).mean(),
            "standard deviation": values.std(),
            "largest": values.max(),
        }
        for name, values in hidden.items()
    }
).T.style.format("{:.3f}")

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for name, values in hidden.items():
    axes.hist(values, bins=np.linspace(-0.3, 1.5, 200), histtype="step", density=True, label=name)
axes.set(xlabel=f"hidden value, after {model.activation.name}", ylabel="density", yscale="log")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Text
#
# Token by token, with a cache of keys and values; greedy without a key, sampled with one.

# %%
prompt = "def __init__(self, "
tokens = jnp.asarray([list(prompt.encode())])


def text(produced):
    return bytes(produced[0].astype("uint8")).decode(errors="replace")


print(prompt + text(np.asarray(generate(model, params, tokens, 120))))
print("-" * 60)
print(prompt + text(np.asarray(generate(model, params, tokens, 120, key=jax.random.key(0), top_p=0.9))))

# %% [markdown]
# ## Another activation, without training
#
# The forms of GELU can replace each other; an activation that differs more destroys what the network has learned.

# %%
losses = {}
for activation in ("gelu_tanh", "gelu", "gelu_quick", "silu", "relu"):
    swapped, params = pretrained.load(FOLDER, activation=activation)
    outputs = jax.jit(swapped.apply)({"params": params}, *task.inputs(batch))
    total, weight = task.metrics(outputs, batch)["loss"]
    losses[activation] = float(total / weight)
table = pd.DataFrame({"validation loss (nats)": losses})
table["difference"] = table["validation loss (nats)"] - losses[model.activation.name]
table.style.format({"validation loss (nats)": "{:.4f}", "difference": "{:+.4f}"})
