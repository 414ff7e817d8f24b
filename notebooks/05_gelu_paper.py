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
# # Can the GELU paper be reproduced?
#
# Every reproduced figure of Hendrycks and Gimpel (2016): their curves dashed, the medians of our runs as lines with
# bands over all runs. The rows are stored with the code; if you have run `ablations study gelu_paper`, its results are
# drawn instead, those of the largest budget first.

# %%
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

import ablations
from experiments.gelu_paper import SAVED
from experiments.gelu_paper import study as paper
from lab.report import figures
from lab.report.studies import study_page
from lab.results import excerpts

MADE = Path(ablations.__file__).parent / "results" / "gelu_paper"
known = [MADE / budget / "saved" for budget in ("full", "short")]
folder = next((path for path in known if any(path.glob("*.parquet"))), SAVED)
saved = excerpts.read(folder)
made = paper.reproductions(saved)

# %% [markdown]
# ## Results
#
# A panel is *reproduced* if all our medians lie within 10 % of the published curve at the epochs where the published
# curves are separated, in the same order; *partly* if at least half of the pairs have their order. The paper's claims
# about its curves are tested with paired differences over seeds.

# %%
verdicts = [
    {"figure": one.title, "claim": verdict.claim, "outcome": verdict.outcome, "reason": verdict.reason}
    for one in made.values()
    for verdict in one.verdicts
]
pd.DataFrame(verdicts).style.hide().set_properties(**{"text-align": "left", "white-space": "normal"})

# %% [markdown]
# ## The figures

# %%
for one in made.values():
    display(Markdown(f"### {one.title}\n\n" + "\n".join(f"- {note}" for note in one.notes)))
    display(HTML(figures.svg(one.figure, one.title)))

# %% [markdown]
# ## Values at the paper's epochs

# %%
for one in made.values():
    words = {column: [study_page.shown(column, value) for value in one.table[column]] for column in one.table}
    display(Markdown(f"### {one.title}"), pd.DataFrame(words).style.hide())

# %% [markdown]
# ## Provenance

# %%
pd.DataFrame(
    [
        {"rows": name, "command": one.made["command"], "seconds": one.made["seconds"], **environment}
        for name, one in saved.items()
        for environment in one.made["environments"]
    ]
).drop(columns="versions").style.hide()
