"""Whether everything runs on the accelerator at hand, a TPU say: first steps of the quickstart, input, scaling.

Command: python -m benchmarks.tpu --out results/tpu
Cost:    a few minutes
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ablations
from benchmarks import input as reading
from benchmarks import measure, scaling
from experiments.quickstart import experiment as quickstart
from lab.comparison.time.speed import speed


def first_steps(steps: int, activations: tuple[str, ...]) -> str:
    """Trains the quickstart for `steps` steps, with its report; says how fast."""
    settings = replace(quickstart.settings, steps=steps)
    asked = replace(quickstart, settings=settings, activations=activations, baseline=activations[0])
    with tempfile.TemporaryDirectory() as folder:
        made = speed(ablations.run(asked, Path(folder) / "results", quiet=True))
    parts = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in made.seconds.items())
    return f"quickstart, {steps} steps of {', '.join(activations)}: {made.tokens_per_second:,.0f} tokens/s ({parts})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all three, each with its own table; with --out their numbers go to that folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the numbers")
    parser.add_argument("--steps", type=int, default=50, help="of the quickstart")
    parser.add_argument("--quick", action="store_true", help="the least that shows that all of it runs")
    of = parser.parse_args(arguments)
    print(measure.heading(measure.about()), first_steps(of.steps, ("gelu", "swiglu")), sep="\n\n", end="\n\n")
    few = ["--rounds", "1", "--seconds", "0"] if of.quick else []
    for name, main_of, shorter in (
        ("input", reading.main, ["--runs", "1", "--repetitions", "1", "--seconds", "0", "--megabytes", "1"]),
        ("scaling", scaling.main, [*few, "--seeds", "1"]),
    ):
        kept = ["--json", str(of.out / f"{name}.json")] if of.out else []
        main_of([*kept, *(shorter if of.quick else [])])
        print()


if __name__ == "__main__":
    main()
