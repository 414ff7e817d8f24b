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
# # Which activation won, and how sure are we?
#
# The results of `ablations run quickstart`, from the tidy table to the verdicts: each step of the comparison is done
# by hand and compared with `ablations.compare`. If these results are missing, a run of less than a minute replaces
# them; its networks are too small and trained too briefly to say much about activations.

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown
from scipy import stats

import ablations
from experiments.quickstart import experiment
from lab.report import figures
from models.transformer import Transformer

DIRECTORY = Path(ablations.__file__).parent / "results" / "quickstart"

if not (DIRECTORY / "report.html").exists():  # which is written last
    smoke = replace(
        experiment,
        name="quickstart-smoke",
        model=Transformer(context=64, d_model=32, n_layers=1, n_heads=2, norm="rmsnorm", positions="rotary"),
        activations=("gelu", "relu", "swiglu"),
        seeds=(0, 1, 2, 3),
        settings=replace(experiment.settings, steps=60),
    )
    DIRECTORY = Path(tempfile.mkdtemp())
    ablations.run(smoke, out=DIRECTORY, quiet=True)

# %% [markdown]
# ## What was measured
#
# One row per run, step, split and metric.

# %%
rows = ablations.load(DIRECTORY)
comparison = ablations.compare(DIRECTORY)
assert "diverged" not in set(rows["metric"])  # compare gives such a run the worst value, which is left out below
rows.groupby(["activation", "split", "metric"])["value"].describe()[["count", "min", "50%", "max"]]

# %%
HTML(figures.svg(figures.curves(rows), "Learning curves"))

# %% [markdown]
# ## Paired differences
#
# The last step only. Each row is a seed: the same batches in the same order, and the same initial weights wherever
# the networks have them in common. So the arms are compared within a row.

# %%
final = rows[(rows["step"] == rows["step"].max()) & (rows["split"] == "validation") & (rows["metric"] == "loss")]
losses = final.pivot_table(index="seed", columns="activation", values="value")
losses.style.format("{:.4f}").highlight_min(axis="columns", props="font-weight: bold")

# %%
baseline = comparison.baseline
differences = losses.drop(columns=baseline).sub(losses[baseline], axis="index")
differences.style.format("{:+.4f}")

# %% [markdown]
# The benefit of pairing: the variance of the difference of two arms if their seeds were independent, divided by that of
# the paired differences. An unpaired comparison would need this many times more seeds.

# %%
unpaired = losses.drop(columns=baseline).var() + losses[baseline].var()
(unpaired / differences.var()).rename("times more seeds").to_frame().style.format("{:.1f}")

# %% [markdown]
# ## How sure
#
# The standard error of the mean difference is $s / \sqrt{n}$ over the seeds. The learning rates were chosen on a few
# tuning seeds, and another choice would have given another difference: its standard error, `se_choice`, comes on top.
# The choice counts as known, so that the degrees of freedom are $(n - 1)(1 + se_{choice}^2 / se^2)^2$.
#
# Every further arm is a further chance to be wrong, so Holm's method multiplies the smallest p value by the number of
# arms, the next by one less, and so on, and lets none fall below the one before. Seeds may be added after this look; to
# pay for that, every p value is divided by 0.8 first.

# %%
compared = pd.DataFrame(comparison.arms).set_index("activation").sort_values("difference")
n = len(differences)
error = differences.std() / np.sqrt(n)
choice = compared["se_choice"].reindex(error.index)
total = np.hypot(error, choice)
freedom = (n - 1) * (1 + (choice / error) ** 2) ** 2
half_width = stats.t.ppf((1 + comparison.level) / 2, freedom) * total
p = pd.Series(2 * stats.t.sf((differences.mean() / total).abs(), freedom), differences.columns).sort_values()
adjusted = (p / 0.8 * np.arange(len(p), 0, -1)).cummax().clip(upper=1)
by_hand = pd.DataFrame(
    {
        "n": n,
        "difference": differences.mean(),
        "low": differences.mean() - half_width,
        "high": differences.mean() + half_width,
        "p": p,
        "p_adjusted": adjusted,
    }
)
by_hand.style.format(precision=4)

# %% [markdown]
# The same from `ablations.compare`, with the verdict and the minimum detectable effect.

# %%
pd.testing.assert_frame_equal(by_hand, compared[by_hand.columns], check_like=True, check_names=False, rtol=1e-6)
compared[[*by_hand.columns, "minimum_detectable_effect", "verdict"]].style.format(precision=4)

# %%
HTML(figures.svg(figures.differences(comparison), "Paired differences"))

# %% [markdown]
# ## Reading


# %%
def names(verdict):
    return ", ".join(compared.index[compared["verdict"] == verdict]) or "none"


best = losses.mean().idxmin()
Markdown(
    f"""
After {comparison.step} steps, **{best}** has the lowest mean loss: {losses[best].mean():.3f} nats over {n} seeds,
the baseline {baseline} has {losses[baseline].mean():.3f}.

- Better than {baseline}: **{names("better")}**. Worse: **{names("worse")}**. Inconclusive: **{names("inconclusive")}**.
- Were there no differences, any verdict at all would come up with a probability of at most {1 - comparison.level:.0%}.
  They are about this model, this data and this many steps.
- With {n} seeds the minimum detectable effect is {compared["minimum_detectable_effect"].max():.3f} nats (80 % power).
  "Inconclusive" says that a difference may well be smaller than that, not that there is none.
"""
)
