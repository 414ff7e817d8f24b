"""LayerNorm became RMSNorm and GELU became SwiGLU in one commit, and the model drifted: which of the two did it?

Command:  ablations study swap_norm_activation --budget short
Cost:     124 s of processor time (short) on 2 busy cores of an AMD EPYC, 1.5 minutes: 45 runs and 9 programs. Full:
          5 runs of 65 million tokens and 40 of 6.5 million, an hour or two on a GPU (not measured)
Expected: dropping the centring changes the loss little, as the residual stream of a trained decoder has a mean near 0
          (Jiang et al. 2023, arXiv:2305.14858), and folding it into the weights changes nothing; the gate causes the
          drift, since SwiGLU with a value of 1 is SiLU and not GELU; further training soon recovers most of it

A GPT-2-style decoder with LayerNorm and GELU is evaluated with RMSNorm, with SwiGLU and with both, with the same
weights (`lab.surgery.swap`): the gate has the weights of the old layer, the value is 1; the RMSNorm has the scale and
bias of the LayerNorm, with or without folding the centring into the weights first. Then all are trained further.
Short: d_model 64, 2 layers, seeds 0 to 4, 500 steps of 16 windows of 64, and 50 steps more. Full: d_model 512, 8
layers, 4,000 steps of 64 windows of 256, and 400 more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lab.experiment.budget import Budget
from lab.experiment.experiment import Cell, Experiment
from lab.experiment.study import Evaluate, Findings
from lab.experiment.swapping import BATCH, SIZES, going_on, pretraining
from lab.report.networks import drift, recovery
from lab.results.results import Results
from lab.surgery.attribution import FOLDED, attribution, changes
from lab.training.settings import Run

ACTIVATION, NORM = "swiglu", "rmsnorm"


@dataclass(frozen=True)
class SwapNormActivation:
    """Norm, activation and both swapped in networks trained here."""

    name: str = "swap_norm_activation"
    question: str = "LayerNorm became RMSNorm and GELU became SwiGLU in one commit: which of the two did it?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The networks, and their further training with every change, with and without folded centring."""
        size = SIZES[budget]
        trained = pretraining(f"{self.name}_decoder", "decoder", ("gelu",), size)
        return trained, *(going_on(trained, (ACTIVATION,), NORM, size, fold) for fold in (False, True))

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """The effect of every change on every trained network."""
        return {"drift": evaluate(self.experiments(budget)[0], lambda cell, run: True, changed)}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """Which change affects the loss, in which layers, and what remains after further training."""
        folds = {f"{self.name}_decoder_on": "", f"{self.name}_decoder_folded": FOLDED}
        apart = [recovery.differences(results[name], "gelu", "layernorm", suffix) for name, suffix in folds.items()]
        mended = recovery.section(pd.concat(apart, ignore_index=True))
        return Findings((), {**drift.sections(measured["drift"]), "recovery": mended})


def changed(cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The effect of every change on one network: see `lab.surgery.attribution.attribution`."""
    asked = changes(cell.model, ACTIVATION, NORM)
    batches = cell.task.evaluation_batches(test, BATCH)
    return attribution(cell.task, cell.model, variables["params"], asked, batches)


study = SwapNormActivation()
