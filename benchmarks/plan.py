"""Whether a planned design has the power that it was promised: off the pool of `benchmarks.pool`.

Command:  python -m benchmarks.plan [--windows results/pool] [--runs results/quickstart]
Cost:     a few minutes on one core of an AMD EPYC
Prints:   tables in Markdown, from benchmarks/results/plan.parquet and plan.json

With `--windows`, the losses of the pool, the first file is made again: swiglu minus gelu of each of 64 seeds on the 540
windows of the last evaluation. With `--runs`, results of the quickstart, the second: what the two arms cost.

A design is promised a power by a pilot. What it has is read off the pool: as many seeds are drawn from it with
replacement, their differences on as many windows are moved so that the true difference is the effect, and the paired t
test is made, so many times. The spread of a finite pool is made up for by the root of 64 / 63.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import brentq

from benchmarks.measure import markdown
from benchmarks.pool import windows
from benchmarks.ruler import RATE
from lab.comparison.time.run_time import of_cell
from lab.experiment.duration import Duration
from lab.results import results
from lab.statistics.design import Cost, Design, best, designs
from lab.statistics.noise import noise
from lab.statistics.paired import paired_t

BASELINE, ARM, LEVEL = "gelu", "swiglu", 0.95
BUDGETS = tuple(map(Duration.read, ("3m", "5m", "10m")))
EFFECTS = (0.01, 0.015)
PILOTS = (5, 8, 16)
DRAWS = 4000
REPEATS = 400  # pilots
PROMISE = 0.8
WINDOWS = (64, 128, 256, 540)
DIFFERENCES = Path(__file__).parent / "results" / "plan.parquet"
COST = DIFFERENCES.with_suffix(".json")


class Pool(NamedTuple):
    """Differences of every seed on every window, with document and tokens of each window."""

    values: Float[np.ndarray, "seeds windows"]
    document: Int[np.ndarray, " windows"]
    tokens: Float[np.ndarray, " windows"]

    def of(self, seeds: Int[np.ndarray, " chosen"]) -> "Pool":
        """The pool of some of its seeds."""
        return self._replace(values=self.values[seeds])


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=Path, help="folder of the windows' losses")
    parser.add_argument("--runs", type=Path, help="results of the quickstart, for the cost")
    options = parser.parse_args()
    if options.windows:
        differences(options.windows).to_parquet(DIFFERENCES, index=False)
    if options.runs:
        COST.write_text(json.dumps(cost(options.runs), indent=2) + "\n")
    table = pd.read_parquet(DIFFERENCES)
    seeds = [column for column in table.columns if column.isdigit()]
    pool = Pool(table[seeds].to_numpy(float).T, table["document"].to_numpy(), table["tokens"].to_numpy(float))
    known = Cost(**json.loads(COST.read_text())["cost"])
    columns = ("budget", "effect", "seeds", "windows", "promised", "realised", "95 % interval")
    print(f"An earlier folder: all {len(seeds)} seeds are the pilot\n")
    print(markdown(columns, whole(pool, known)))
    print("\nHalf of the seeds are the pilot, the others the truth\n")
    print(markdown(("budget", "effect", "promised", "realised", "realised - promised"), halves(pool, known)))
    print(f"\n{REPEATS} pilots drawn from the pool, the whole pool the truth\n")
    columns = ("pilot pairs", "budget", "effect", "promised", "realised", "realised - promised", "above the assured")
    print(markdown(columns, pilots(pool, known)))
    print(f"\nThe same, each with the effect that its pilot promises to find with probability {PROMISE:g}\n")
    print(markdown(("pilot pairs", "budget", "promised", "realised", "realised - promised"), promised(pool, known)))


def whole(pool: Pool, known: Cost) -> Iterator[tuple[str, ...]]:
    """The design chosen by the whole pool, its power, and the interval by resampling the seeds of the pool."""
    for budget, effect in cases():
        chosen = planned(pool, known, budget, effect)
        rng = np.random.default_rng(0)
        again = [
            realised(pool.of(rng.integers(0, len(pool.values), len(pool.values))), chosen, effect, 500)
            for _ in range(200)
        ]
        low, high = np.percentile(again, (2.5, 97.5))
        found = realised(pool, chosen, effect)
        numbers = (f"{chosen.seeds}", f"{chosen.examples}", f"{chosen.power:.3f}", f"{found:.3f}")
        yield str(budget), f"{effect:g}", *numbers, f"{low:.3f} to {high:.3f}"


def halves(pool: Pool, known: Cost) -> Iterator[tuple[str, ...]]:
    """Means over random halves, which share no seed."""
    for budget, effect in cases():
        rng, found = np.random.default_rng(0), []
        for _ in range(REPEATS // 4):
            order = rng.permutation(len(pool.values))
            pilot, truth = pool.of(order[: len(order) // 2]), pool.of(order[len(order) // 2 :])
            chosen = planned(pilot, known, budget, effect)
            found.append((chosen.power, realised(truth, chosen, effect, 1000)))
        yield str(budget), f"{effect:g}", *compared(found)


def pilots(pool: Pool, known: Cost) -> Iterator[tuple[str, ...]]:
    """Means over small pilots; and how often a design has at least the power that it was assured of."""

    @cache
    def has(seeds: int, examples: int, effect: float) -> float:
        return realised(pool, Design(seeds, examples, 0, 0, 0, 0, ()), effect)

    for pairs in PILOTS:
        for budget, effect in cases():
            rng, found, kept = np.random.default_rng(0), [], []
            for _ in range(REPEATS):
                chosen = planned(pool.of(rng.choice(len(pool.values), pairs, replace=False)), known, budget, effect)
                power = has(chosen.seeds, chosen.examples, effect)
                found.append((chosen.power, power))
                kept.append(power >= chosen.assured)
            yield str(pairs), str(budget), f"{effect:g}", *compared(found), f"{np.mean(kept):.2f}"


def promised(pool: Pool, known: Cost) -> Iterator[tuple[str, ...]]:
    """How often designs find what they promise to find: the case in which a promise is calibrated, as at a fixed effect
    a small pilot promises now too much and now too little."""
    for pairs in PILOTS:
        for budget in BUDGETS:
            rng, found = np.random.default_rng(0), []
            for _ in range(REPEATS // 4):
                pilot = pool.of(rng.choice(len(pool.values), pairs, replace=False))

                def lacking(effect: float, pilot: Pool = pilot, budget: float = budget) -> float:
                    return planned(pilot, known, budget, effect).power - PROMISE

                effect = float(brentq(lacking, 1e-4, 1.0, xtol=1e-4))
                chosen = planned(pilot, known, budget, effect)
                found.append((chosen.power, realised(pool, chosen, effect, 1000)))
            yield str(pairs), str(budget), *compared(found)


def cases() -> Iterator[tuple[Duration, float]]:
    """Every budget with every effect."""
    return ((budget, effect) for budget in BUDGETS for effect in EFFECTS)


def compared(found: Sequence[tuple[float, float]]) -> tuple[str, str, str]:
    """Mean promised and realised power, and their mean difference with its 95 % interval over repetitions."""
    promised, has = np.array(found).T
    t = paired_t(has - promised)
    return f"{promised.mean():.3f}", f"{has.mean():.3f}", f"{t.mean:+.3f} ({t.low:+.3f} to {t.high:+.3f})"


def planned(pilot: Pool, known: Cost, budget: float, effect: float) -> Design:
    """The design that the pilot recommends, of as many windows as the pool has losses of."""
    chosen = best(designs([noise(*pilot)], known, WINDOWS, budget, effect, LEVEL))
    assert chosen is not None  # every budget is enough for two seeds
    return chosen


def realised(pool: Pool, chosen: Design, effect: float, draws: int = DRAWS) -> float:
    """How often a design finds the effect."""
    count = pool.values.shape[1]
    taken = np.arange(chosen.examples) * count // chosen.examples  # as `Windows.evaluation_starts` spreads them
    means = pool.values[:, taken] @ pool.tokens[taken] / pool.tokens[taken].sum()
    centred = (means - means.mean()) * np.sqrt(len(means) / (len(means) - 1))
    index = np.random.default_rng(1).integers(0, len(means), (draws, chosen.seeds))
    return float((paired_t(centred[index] + effect, LEVEL).p_value < 1 - LEVEL).mean())


def differences(folder: Path) -> pd.DataFrame:
    """A row a window: document, tokens, and the difference of every seed that both arms have, as a column."""
    parts: dict[str, list[pd.DataFrame]] = {ARM: [], BASELINE: []}
    for arm, rate, losses in windows(folder):
        if arm in parts and rate == RATE:
            final = losses[losses["evaluation"] == "final"].reset_index(drop=True)
            parts[arm].append(final.drop(columns="evaluation"))
    ours, theirs = (pd.concat([one.filter(regex=r"^\d+$") for one in parts[arm]], axis=1) for arm in (ARM, BASELINE))
    seeds = sorted(set(ours.columns) & set(theirs.columns), key=int)
    return parts[ARM][0][["document", "tokens"]].join((ours[seeds] - theirs[seeds]).astype("float32"))


def cost(folder: Path) -> dict[str, object]:
    """What the two arms took in results of the quickstart, and on what."""
    found = results.read(folder)
    times = {}
    for cell in found.cells:
        if cell["activation"] in (ARM, BASELINE):
            examples = found.examples(cell["cell"])
            assert examples is not None
            times[cell["activation"]] = of_cell(found, cell["cell"], examples)
    made = found.cells[0]["environment"]
    summed = Cost(*(sum(getattr(time, part) for time in times.values()) for part in ("compile", "run", "example")))
    machine = {name: made.get(name) for name in ("processor", "device", "device_count", "python", "versions", "commit")}
    return {"cost": asdict(summed), "arms": {name: asdict(time) for name, time in times.items()}, **machine}


if __name__ == "__main__":
    main()
