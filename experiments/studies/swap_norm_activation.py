"""LayerNorm became RMSNorm and GELU became SwiGLU in one commit, and the model drifted: which of the two did it?

Command:  ablations study swap_norm_activation --budget short
Cost:     338 s of processor time (short), 3 minutes of 2 CPU cores that do nothing else: 45 runs and 9 programs. Full:
          5 runs of 65 million tokens and 40 of 6.5 million, an hour or two on a GPU (not measured)
Expected: dropping the centring moves the loss little, for the residual stream of a trained decoder has a mean near 0
          (Jiang et al. 2023, arXiv:2305.14858), and folding it into the weights moves nothing; the gate is what drifts,
          since SwiGLU with a value of 1 is SiLU and not GELU; training on mends most of it soon

A decoder in the manner of GPT-2, with LayerNorm and GELU, computes with RMSNorm, with SwiGLU and with both, with the
same weights (`lab.surgery.swap`): the gate has the weights that the layer had, the value is 1; the RMSNorm has scale
and bias of the LayerNorm, as they are or with the centring folded into the weights before it. Then all are trained on.
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
from lab.report import drift, recovery
from lab.results.results import Results
from lab.surgery.attribution import FOLDED, attribution, changes
from lab.training.settings import Run

ACTIVATION, NORM = "swiglu", "rmsnorm"


@dataclass(frozen=True)
class SwapNormActivation:
    """The norm, the activation and both changed in networks trained here."""

    name: str = "swap_norm_activation"
    question: str = "LayerNorm became RMSNorm and GELU became SwiGLU in one commit: which of the two did it?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The networks trained, and trained on with every change, the centring as it was and folded."""
        size = SIZES[budget]
        trained = pretraining(f"{self.name}_decoder", "decoder", ("gelu",), size)
        return trained, *(going_on(trained, (ACTIVATION,), NORM, size, fold) for fold in (False, True))

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """What every change does to every trained network."""
        return {"drift": evaluate(self.experiments(budget)[0], lambda cell, run: True, changed)}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """Which change moves the loss, where it shows, and what is left of it after training on."""
        folds = {f"{self.name}_decoder_on": "", f"{self.name}_decoder_folded": FOLDED}
        apart = [recovery.differences(results[name], "gelu", "layernorm", suffix) for name, suffix in folds.items()]
        mended = recovery.section(pd.concat(apart, ignore_index=True))
        return Findings((), {**drift.sections(measured["drift"]), "recovery": mended})


def changed(cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """What every change does to one network: see `lab.surgery.attribution.attribution`."""
    asked = changes(cell.model, ACTIVATION, NORM)
    batches = cell.task.evaluation_batches(test, BATCH)
    return attribution(cell.task, cell.model, variables["params"], asked, batches)


study = SwapNormActivation()
