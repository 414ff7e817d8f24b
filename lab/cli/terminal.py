"""What the commands say on the terminal: values in, words out.

Heavy libraries are imported where they are needed, so that `ablations list` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from lab.comparison.comparison import Comparison
    from lab.comparison.noise import Setting
    from lab.experiment.experiment import Experiment
    from lab.results.results import Results
    from lab.runner.planning import Plan
    from lab.statistics.noise import Noise


def show_names(kinds: Mapping[str, Mapping[str, str]]) -> None:
    """The available names of each kind, one line each with a summary."""
    width = max(len(name) for names in kinds.values() for name in names)
    for kind, names in kinds.items():
        print("\n".join([f"{kind}:", *(f"  {name:{width}}  {text}" for name, text in names.items()), ""]))


def show_cells(experiment: Experiment, rows: pd.DataFrame) -> None:
    """The cells of an experiment with their costs, one row each as `lab.runner.estimate` returns them, and the sums."""
    from rich.console import Console
    from rich.table import Table

    from lab.report.narrow import Fitted

    formats = {"cell": "{}", "minutes": "{:,.1f}"}
    drawn = Table(box=None, pad_edge=False)
    for column in map(str, rows):
        drawn.add_column(column.replace("_", " "), justify="left" if column == "cell" else "right", no_wrap=True)
    words = {column: rows[column].map(formats.get(str(column), "{:,.0f}").format) for column in rows}
    for row in zip(*words.values(), strict=True):
        drawn.add_row(*row)
    print(f"{experiment.name}: {experiment.question}\n")
    Console().print(Fitted(drawn))
    runs, minutes = rows["runs"].sum(), rows["minutes"].sum()
    print(f"\n{runs} runs in {len(rows)} cells, about {minutes:.1f} minutes, and compiling")


def show_tuning(found: pd.DataFrame) -> None:
    """What each arm was given, the table of `lab.comparison.tuning.tuned`, and what there is to warn of."""
    from lab.comparison import tuning

    print(found.to_string(index=False, float_format="{:.5g}".format))
    print("\n".join(tuning.warnings(found)))


def show_matched(arms: Sequence[Mapping[str, Any]]) -> None:
    """The time per step and the number of steps of each arm, as returned by `lab.runner.matching.match`."""
    for arm in arms:
        words = " ".join(f"{name}={value}" for name, value in arm["arm"].items())
        print(f"{words}: {1e3 * arm['seconds_per_step']:.3g} ms per step, {arm['fields']['settings.steps']} steps")


def show_comparison(found: Results, compared: Comparison) -> None:
    """The ranked table, what weakens it, what an axis does if it was asked for, and which baselines that are no
    networks were beaten."""
    from rich.console import Console

    from lab.comparison import reference_predictors
    from lab.report import table
    from lab.report.narrow import Fitted

    Console().print(Fitted(table.terminal(table.ranked(found, compared), compared)))
    for effect in compared.effects:
        print(table.of_effect(effect, compared))
    for sentence in (*compared.missing, *compared.cautions):
        print(f"! {sentence}")
    for sentence in reference_predictors.best(reference_predictors.beside(found, compared.baseline), compared.baseline):
        print(sentence)


def show_speed(found: Results, limit: float) -> None:
    """How fast it was trained, as a share of `limit`, the FLOP/s of matrix products that this machine reaches now.

    A share above 1 says that the machine was busy when `limit` was measured: it is left out.
    """
    from lab.comparison.time.speed import speed

    made = speed(found)
    parts = ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in made.seconds.items())
    share = made.flops_per_second / limit
    against = f", {share:.2f} of the {limit / 1e9:,.0f} GFLOP/s of matrix products" if share <= 1 else ""
    print(f"\n{sum(made.seconds.values()):.0f} s ({parts}); training {made.tokens_per_second:,.0f} tokens/s{against}")


def show_noise(settings: Sequence[Setting]) -> None:
    """The standard deviations of the variance components of each arm's difference, one row per arm."""
    import pandas as pd

    print("standard deviations of the difference to the baseline, in the unit of the metric\n")
    for setting in settings:
        rows = [_noise(arm.label, arm.noise, arm.pairing, arm.unpaired) for arm in setting.arms]
        print(pd.DataFrame(rows).to_string(index=False))
        noise, between = setting.arms[0].noise, setting.between_arms**0.5
        print(
            f"\n{noise.examples} examples of {noise.documents} documents; between arms {between:.4f}; "
            "unpaired: how many times the seeds a comparison without pairs needs\n"
        )


def _noise(label: str, noise: Noise, pairing: float, unpaired: float) -> dict[str, Any]:
    variances: dict[str, Any] = {
        "per seed": noise.of_seed,
        "seed": noise.components.seed,
        "text": noise.components.text,
        "seed x text": noise.components.residual,
        "seed x example": noise.of_seed_by_example * noise.examples,
    }
    deviations = {name: f"{variance**0.5:.4f}" for name, variance in variances.items()}
    return {
        "arm": label,
        "pairs": noise.pairs,
        **deviations,
        "pairing": f"{pairing:.2f}",
        "unpaired": f"x{unpaired:.1f}",
    }


def show_plan(found: Plan) -> None:
    """The designs, what the pilot does not tell, the recommendation, and the command that carries it out."""
    import pandas as pd

    from lab.experiment.duration import Duration

    rows = [
        {
            **option.axes,
            "seeds": one.seeds,
            "examples": one.examples,
            "time": str(Duration(one.seconds)),
            "power": f"{one.power:.2f}",
            "at least": f"{one.assured:.2f}",
            "seeds and text": f"{one.power_over_text:.2f}",
        }
        for option, one in found.designs
    ]
    if rows:
        print(f"power for a difference of {found.effect:g} in at most {found.budget}, after Holm's correction\n")
        print(pd.DataFrame(rows).to_string(index=False))
    print("\n" + "\n".join([*found.notes, found.sentence]))
    if found.command:
        print(f"\n{found.command}")


def show_calibration(rates: pd.DataFrame) -> None:
    """The error rates and power of `lab.report.studies.calibration`, or the table of `lab.report.studies.promises`."""
    print(rates.to_string(index=False, float_format="{:.4f}".format, na_rep="-"))


def show_sets(rows: Sequence[Mapping[str, Any]]) -> None:
    """The data sets, one row each as `lab.data.catalogue.listed` returns them."""
    import pandas as pd

    readable = [{column: _readable(value) for column, value in row.items()} for row in rows]
    print(pd.DataFrame(readable).to_string(index=False))


def _readable(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else value


def show_inspection(found: Mapping[str, Any]) -> None:
    """What a checkpoint uses, one line each, as `models.pretrained.inspect` returns it."""
    form = f" (GELU: {found['gelu']})" if found["gelu"] else ""
    lines = {
        "family": f"{found['family']}, {found['architecture']}",
        "sizes": ", ".join(f"{name} {value}" for name, value in found["sizes"].items()),
        "activation": f"{found['activation']}{form}",
        "norm": f"{found['norm']}, {found['placement']}, epsilon {found['norm_epsilon']:g}",
        "positions": found["positions"] + (f", theta {found['rope_theta']:g}" if found["rope_theta"] else ""),
        "parameters": f"{found['parameters']:,}" + (", output layer tied to the embedding" if found["tied"] else ""),
    }
    print("\n".join(f"{name:10}  {words}" for name, words in lines.items()))


def show_telemetry(rows: pd.DataFrame) -> None:
    """What happens inside a network: a table for each site, with a row for each layer."""
    for site, some in rows.groupby("site", sort=False):
        wide = some.pivot_table("value", "layer", "metric", sort=False).rename_axis(columns=None).reset_index()
        print(f"\n{site}:\n{wide.to_string(index=False, float_format='{:.4g}'.format, na_rep='-')}")


def show_quantization(record: Mapping[str, Any]) -> None:
    """What each recipe costs, and what is left if a site is kept in float: see `lab.runner.networks.quantization`."""
    import pandas as pd

    about = f"{record['over']}; difference in nats to float; equivalent: within {record['margin']:g} nats"
    headings = {"recipes": f"intervals over {about}", "sites": "one site kept in float; difference to all quantized"}
    for name, heading in headings.items():
        table = pd.DataFrame(record[name])
        hidden = ["equivalence_p", "se_seeds_and_text", *(["over"] if "," not in record["over"] else [])]
        table = table.drop(columns=hidden, errors="ignore")
        print(f"{heading}\n\n{table.to_string(index=False, float_format='{:.4g}'.format, na_rep='-')}\n")
    print(f"page: {record['page']}")


def show_choice(record: Mapping[str, Any]) -> None:
    """The measures of every arm, and the recommendation: see `lab.runner.networks.selection`."""
    import pandas as pd

    table = pd.DataFrame(record["arms"])
    shown = ["arm", "loss", "int8_loss", "latency_ms", "latency_batch_ms", "gradient_batch_ms", "memory_mb"]
    shown += ["parameters", "stable_rate", "pareto_probability", "meets"]
    table = table[[name for name in shown if name in table]]
    print(f"{table.to_string(index=False, float_format='{:.4g}'.format, na_rep='-')}\n")
    print("\n".join([record["recommendation"], *(f"reason for doubt: {one}" for one in record["cautions"])]))
    print(f"page: {record['page']}")


def show_drift(rows: pd.DataFrame) -> None:
    """What each change does to the networks, the table of `lab.report.networks.drift.attributed`."""
    from lab.report.networks import drift

    print(drift.attributed(rows).to_string(index=False, float_format="{:.4g}".format, na_rep="-"))
