"""Eleven claims that articles make of GELU, each with a control: does it hold, does it not, or on what does it depend?

Command:  ablations study claims --budget short   (one claim: --only smooth)
Cost:     650 s of processor time (short) on 2 cores of an AMD EPYC that had much other work: 328 runs in 25 cells.
          Full: not run
Expected: of the claims about the loss most are inconclusive at this size and number of seeds, since activations differ
          by 0.01 to 0.03 nats; what has a closed form (the gain of 1.072 per layer, the vanishing slope, the mean of
          the stochastic gate) holds; QuickGELU is as good when served; GELU costs more than ReLU by itself and hardly
          more within a network

A claim is a file. It says in its docstring what is claimed and where, and in its value `claim` what GELU is compared
with, how the numbers are measured, and the margin of each. The rule that turns an interval into a verdict is
`lab.comparison.networks.claim`; it and the margins were fixed before the runs. The claims share the networks of
`networks.py`: a decoder with three norms, an MLP and a classifier, at rates that are not tuned for each activation.

Short: a decoder of width 64 with 2 layers, 200 steps of 8 windows of 64 bytes of the standard library's source, an MLP
of 4 layers of width 128 that reads 16 bytes, an encoder that classifies 64 bytes; seeds 0 to 7. Full: width 512, 8
layers, 4,000 steps of 64 windows of 256 bytes of English novels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from experiments.claims import (
    better_in_transformers,
    cost,
    dying_relu,
    gradient_flow,
    non_monotone,
    not_always_superior,
    probabilistic_gate,
    quickgelu_is_enough,
    smooth,
    vanishing_in_the_extremes,
    works_with_layernorm,
)
from experiments.claims.claim import GeluClaim
from experiments.claims.networks import Evidence, grids, united
from lab.comparison.networks.claim import Reading, read
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate, Findings
from lab.files.choices import check_choice
from lab.report.studies import claims as report
from lab.report.studies.study_page import Section
from lab.results.results import Results

CLAIMS = (
    smooth.claim,
    non_monotone.claim,
    probabilistic_gate.claim,
    gradient_flow.claim,
    dying_relu.claim,
    works_with_layernorm.claim,
    quickgelu_is_enough.claim,
    not_always_superior.claim,
    cost.claim,
    vanishing_in_the_extremes.claim,
    better_in_transformers.claim,
)


@dataclass(frozen=True)
class Claims:
    """All claims, or those that were chosen."""

    claims: tuple[GeluClaim, ...] = CLAIMS

    name = "claims"
    question = "What holds of the claims that are made of GELU?"

    def only(self, names: Sequence[str]) -> "Claims":
        """The study of these claims alone; raises ValueError for an unknown one."""
        known = [one.name for one in self.claims]
        for name in names:
            check_choice("--only", name, known)
        return replace(self, claims=tuple(one for one in self.claims if one.name in names))

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The networks that the claims need, each trained once."""
        return grids(united([one.arms for one in self.claims]), budget)

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """What every claim measures."""
        named = {one.name: one for one in self.experiments(budget)}
        found: dict[str, pd.DataFrame] = {}
        for one in self.claims:
            found |= one.measure(evaluate, named, budget)
        return found

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The table of claims, and what each rests on."""
        evidence = Evidence(results, measured)
        readings = {one.name: read(one.parts(evidence)) for one in self.claims}
        told = [report.told(one, readings[one.name]) for one in self.claims]
        sections = report.summary(told)
        for one in self.claims:
            sections |= _sections(one, readings[one.name], evidence)
        return Findings(tuple(one.verdict for one in told), sections)


def _sections(one: GeluClaim, readings: list[Reading], evidence: Evidence) -> dict[str, Section]:
    """The parts of a claim, and its details if it has some."""
    found = {one.name: report.parts(one, readings)}
    details = one.details(evidence)
    if details is not None:
        found[f"{one.name}_details"] = Section(f"{one.statement}: the numbers behind it", table=details)
    return found


study = Claims()
