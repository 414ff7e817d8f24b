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
# # How do the activations differ, and what do they cost?
#
# Every activation of `models/activations`: its shape and slope, how far the approximations of GELU are from it,
# where gradients die, what a gate does to its value, and how long each takes on this machine. Nothing is trained
# and nothing is downloaded.

# %%
import functools
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import BoundaryNorm

from models.activations import ACTIVATIONS, activation

plt.rcParams.update({"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9})
INK, ACCENT, FAINT = "#222222", "#c1440e", "#bbbbbb"

ALONG_AN_AXIS = ("polynorm", "softmax", "log_softmax")  # their values depend on the neighbours
POINTWISE = [name for name in ACTIVATIONS if not activation(name).gated and name not in ALONG_AN_AXIS]


@functools.cache
def function(name):
    """The activation with its learned parameters at their initial values."""
    initial = {key: jnp.asarray(value) for key, value in activation(name).parameters}
    return jax.jit(lambda *inputs: activation(name)(*inputs, **initial))


@functools.cache
def slope(name):
    """The derivative of a pointwise activation, elementwise."""
    return jax.jit(jax.vmap(jax.grad(function(name))))


# %% [markdown]
# ## Functions and derivatives
#
# Solid: $f$. Dashed: $f'$. Grey: ReLU. `polynorm`, `softmax` and `log_softmax` are missing: they depend on all
# values of a layer and have no curve.

# %%
x = jnp.linspace(-4, 4, 801)
rows = -(-len(POINTWISE) // 5)
figure, axes = plt.subplots(rows, 5, figsize=(11, 2 * rows), sharex=True, sharey=True, layout="constrained")
for ax in axes.flat[len(POINTWISE) :]:
    ax.remove()
for ax, name in zip(axes.flat, POINTWISE, strict=False):
    ax.plot(x, jax.nn.relu(x), color=FAINT, lw=1)
    ax.plot(x, function(name)(x), color=INK, lw=1.6)
    ax.plot(x, slope(name)(x), color=ACCENT, lw=1.2, ls="--")
    ax.set(title=name, ylim=(-2, 4))
figure.supxlabel("x")
plt.show()

# %% [markdown]
# ## GELU and its approximations
#
# `gelu_tanh` (GPT-2, T5 v1.1, Gemma, JAX's default) and `gelu_quick` (CLIP) approximate $x\,\Phi(x)$ (BERT, PyTorch's
# default). Left: their errors, on a logarithmic axis. Right: the left tails. `x (1 + tanh(...)) /
# 2`, as it is usually written, ends where float32 rounds the tanh to -1; the form used here does not.

# %%
x = jnp.linspace(-9, 5, 2801)
tanh_as_written = jax.nn.gelu(x, approximate=True)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for name, color in (("gelu_tanh", INK), ("gelu_quick", ACCENT)):
    distance = jnp.abs(function(name)(x) - function("gelu")(x))
    left.semilogy(x, jnp.maximum(distance, 1e-9), color=color, label=f"{name}: at most {distance.max():.2g}")
    right.semilogy(x, -function(name)(x), color=color, label=name)
right.semilogy(x, -function("gelu")(x), color="#3a6ea5", label="gelu")
right.semilogy(x, -tanh_as_written, color=FAINT, lw=3, zorder=0, label="gelu_tanh as usually written")
left.set(xlabel="x", title="|f(x) - gelu(x)|", xlim=(-5, 5), ylim=(1e-8, 0.1))
right.set(xlabel="x", title="-f(x)", xlim=(-9, 0), ylim=(1e-20, 1))
left.legend(frameon=False)
right.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Signal and gradient propagation
#
# For standard normal inputs: mean and variance of the output (which an initialization must compensate), the root mean
# square of the slope (the factor by which a gradient shrinks) and the fraction of inputs where it is negative. *Dead*
# is the fraction where the gradient vanishes, $|f'| < 0.01$, for inputs of standard deviation 1 and 4.

# %%
z = jnp.linspace(-8, 8, 16_001)
density = jnp.exp(-(z**2) / 2)
density /= density.sum()


def under_normal_inputs(name):
    f, df = function(name), slope(name)
    mean = jnp.sum(density * f(z))
    return {
        "mean": mean,
        "variance": jnp.sum(density * f(z) ** 2) - mean**2,
        "RMS slope": jnp.sqrt(jnp.sum(density * df(z) ** 2)),
        "negative slope": jnp.sum(density * (df(z) < 0)),
        "dead at 1": jnp.sum(density * (jnp.abs(df(z)) < 0.01)),
        "dead at 4": jnp.sum(density * (jnp.abs(df(4 * z)) < 0.01)),
    }


table = pd.DataFrame({name: under_normal_inputs(name) for name in POINTWISE}, dtype=float).T
table.style.format("{:.3f}").format("{:.1%}", subset=["negative slope", "dead at 1", "dead at 4"])

# %% [markdown]
# ## Gated units
#
# `activation(gate) * value` is linear in the value (vertical) and switched by the gate (horizontal). In the
# bilinear unit a negative gate turns the sign; in the others it closes. The clamped unit of gpt-oss adds 1 to the
# value, so that a value of 0 still passes the gate, and stops growing at 7. The colours are logarithmic.

# %%
GATED = ("bilinear", "glu", "reglu", "geglu", "swiglu", "swiglu_clamped")
gate, value = jnp.meshgrid(jnp.linspace(-4, 9, 261), jnp.linspace(-9, 9, 361))
levels = [-100, -30, -10, -3, -1, -0.3, -0.1, 0.1, 0.3, 1, 3, 10, 30, 100]
norm = BoundaryNorm(levels, plt.get_cmap("RdBu_r").N)
figure, axes = plt.subplots(1, len(GATED), figsize=(12, 2.9), sharex=True, sharey=True, layout="constrained")
for ax, name in zip(axes, GATED, strict=True):
    image = ax.contourf(gate, value, function(name)(gate, value), levels=levels, norm=norm, cmap="RdBu_r")
    ax.set(title=name, xlabel="gate")
axes[0].set_ylabel("value")
figure.colorbar(image, ax=axes, ticks=levels, format="%g")
plt.show()

# %% [markdown]
# ## Cost
#
# Medians of 40 rounds on 1024 x 256 float32 values. Each round runs every activation once, so that a slow moment of
# the machine hits all of them alike. Backward means value and gradient. For scale, `64 -> 256` is the matrix
# product that produces such an array in a feed-forward layer of width 64.

# %%
ROUNDS, SHAPE = 40, (1024, 256)
first, second, narrow, kernel = (
    jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate((SHAPE, SHAPE, (1024, 64), (64, 256)))
)


def forward_and_backward(f):
    def both(cotangent, *inputs):
        result, pull_back = jax.vjp(f, *inputs)
        return result, pull_back(cotangent)

    return jax.jit(both)


def seconds(compiled, *inputs):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*inputs))
    return time.perf_counter() - start


def median_milliseconds(calls):
    for call in calls.values():
        seconds(*call)  # compiles
    rounds = pd.DataFrame([{name: seconds(*call) for name, call in calls.items()} for _ in range(ROUNDS)])
    return 1e3 * rounds.median()


cases = {name: (function(name), first) for name in (*POINTWISE, *ALONG_AN_AXIS)}
cases |= {name: (function(name), first, second) for name in GATED}
cases["64 -> 256"] = (jax.jit(jnp.matmul), narrow, kernel)
cost = pd.DataFrame(
    {
        "forward": median_milliseconds(cases),
        "forward and backward": median_milliseconds(
            {name: (forward_and_backward(f), first, *inputs) for name, (f, *inputs) in cases.items()}
        ),
    }
).sort_values("forward and backward")

ax = cost.plot.barh(figsize=(7, 1 + 0.2 * len(cost)), color=[FAINT, INK], width=0.8)
ax.set(xlabel="median time in milliseconds", title=f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Reading
#
# - **Shapes.** GELU, SiLU and Mish are one family: they pass 0 with a slope of 0.5 to 0.6, dip below it on the left
#   and return. They differ in how deep the dip is (-0.17, -0.28, -0.31) and in how far out it lies.
# - **Approximations.** `gelu_tanh` stays within 0.0005 of GELU, `gelu_quick` within 0.02, with a left tail heavier
#   by orders of magnitude. Which one a model was trained with matters when its weights are loaded.
# - **Dead zones.** Half of ReLU's inputs have no gradient, whatever their scale. At standard deviation 1 the smooth
#   family loses hardly any; at 4 GELU loses 23 %, SiLU and Mish, whose dips reach further out, 7 %. The saturating ones
#   lose more with every widening, and the sigmoid's slope is small everywhere (RMS 0.21).
# - **Scale.** Output variances span more than an order of magnitude (sigmoid 0.04, GELU 0.35, ReLU² 1.25), slopes
#   likewise. A comparison at one learning rate compares these scales too: tune it for each activation.
# - **Gates.** A gated unit is quadratic: with both inputs large it grows like their product. That is where outliers
#   come from, and what the clamp cuts off.
# - **Cost.** On a CPU, forward and backward, exact GELU takes about four times as long as ReLU, SiLU and the tanh form
#   about twice; a gated unit reads two arrays and returns two gradients. Beside a matrix product of width 64 that
#   counts; the product's cost grows with the width, the activation's does not.
