"""What happens when a network trained with one form of GELU is served with another?

Command:  ablations study swap_gelu --budget short
Cost:     306 s of processor time (short) on 2 busy cores of an AMD EPYC, 3 minutes: 60 runs and 12 programs. Full:
          30 runs of 65 million tokens and 30 of 6.5 million, hours on a GPU (not measured)
Expected: erf and tanh differ by less than 0.0005 everywhere (Hendrycks and Gimpel 2016, section 2, propose the tanh
form
          as an approximation), so the losses differ by far less than those of two seeds; QuickGELU, x sigmoid(1.702 x),
          differs by up to 0.0203, which is visible in the predictions and soon recovered by further training

A GPT-2-style decoder and a BERT-style encoder are trained with each of the three forms; then every network is evaluated
with each of the other two, with the same weights. The networks trained with the exact form are also trained further
with each form, at a tenth of their learning rate. Short: d_model 64, 2 layers, seeds 0 to 4, 500 steps of 16 windows of
64, and 50 steps more (an encoder of 4 layers is still at the unigram's loss then). Full: d_model 512, 8 layers, 4,000
steps of 64 windows of 256, and 400 more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lab.comparison.outcomes import outcomes
from lab.experiment.budget import Budget
from lab.experiment.experiment import Cell, Experiment
from lab.experiment.study import Evaluate, Findings
from lab.experiment.swapping import BATCH, SIZES, going_on, pretraining
from lab.report.networks import drift, recovery
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.surgery.attribution import attribution
from lab.training.settings import Run

FORMS: dict[Budget, tuple[str, ...]] = {
    "smoke": ("gelu", "gelu_quick"),
    **dict.fromkeys(("short", "full"), ("gelu", "gelu_tanh", "gelu_quick")),
}
SHAPES = ("decoder", "encoder")


@dataclass(frozen=True)
class SwapGelu:
    """Every form of GELU swapped for every other, in networks of two shapes trained here."""

    name: str = "swap_gelu"
    question: str = "What happens when a network trained with one form of GELU is served with another?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """Both shapes trained with every form; and those of the exact form trained further with each."""
        forms, size = FORMS[budget], SIZES[budget]
        trained = [pretraining(f"{self.name}_{shape}", shape, forms, size) for shape in SHAPES]
        return tuple(one for each in trained for one in (each, going_on(each, forms[1:], None, size)))

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """The effect of the other two forms on every trained network, by the name of its experiment."""
        trained = [one for one in self.experiments(budget) if one.init_from is None]
        other_forms = partial(in_other_forms, FORMS[budget])
        return {one.name: evaluate(one, lambda cell, run: True, other_forms) for one in trained}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The drift between forms, compared with the spread of seeds, and recovery by further training."""
        verdicts: list[Verdict] = []
        sections: dict[str, Section] = {}
        for name, rows in measured.items():
            shape = name.removeprefix(f"{self.name}_")
            spread = of_seeds(results[name])
            verdicts += [within(shape, row, spread) for row in drift.attributed(rows).to_dict(orient="records")]
            found = drift.sections(rows, f"{shape.capitalize()}: one form swapped for another")
            # Its verdicts are given above, relative to the spread of seeds.
            found["attribution"] = replace(found["attribution"], verdicts=())
            apart = recovery.differences(results[f"{name}_on"], "gelu")
            found["recovery"] = recovery.section(
                apart, f"{shape.capitalize()}: networks of the exact form, trained further"
            )
            sections |= {f"{shape}_{part}": section for part, section in found.items()}
        return Findings(tuple(verdicts), sections)


def in_other_forms(
    forms: tuple[str, ...], cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """The effect of every other form on one network: see `lab.surgery.attribution.attribution`."""
    own = cell.activation.name
    changes = {f"{own} -> {form}": {"activation": form} for form in forms if form != own}
    return attribution(cell.task, cell.model, variables["params"], changes, cell.task.evaluation_batches(test, BATCH))


def of_seeds(results: Results) -> float:
    """The standard deviation of the final test loss over seeds, pooled over activations."""
    rows = results.rows
    ends = outcomes(rows, "loss", "test", int(rows["step"].max()))
    return float(np.sqrt(ends.groupby("activation")["value"].var(ddof=1).mean()))


def within(shape: str, row: Mapping[Any, Any], spread: float) -> Verdict:
    """Whether a change affects the loss by less than another seed would."""
    claim = f"{shape}, {row['change']}: changes the loss by less than a seed does"
    reason = (
        f"{row['loss_difference']:+.2g} nats (95 % interval {row['low']:+.2g} to {row['high']:+.2g}, n = {row['n']}), "
        f"KL {row['kl']:.2g}, agreement {row['agreement']:.4f}; the standard deviation over seeds is {spread:.2g}"
    )
    largest, smallest = max(abs(row["low"]), abs(row["high"])), min(abs(row["low"]), abs(row["high"]))
    across = row["low"] <= 0 <= row["high"]
    outcome = "yes" if largest < spread else "no" if smallest > spread and not across else "inconclusive"
    return Verdict(claim, outcome, reason)


study = SwapGelu()
