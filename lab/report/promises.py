"""The table of nominal and simulated error rates: an audit's numbers then, simulated experiments now."""

import pandas as pd

from lab.statistics.calibration.audit import audit
from lab.statistics.calibration.check import Check


def promises(experiments: int = 20_000, seed: int = 0) -> pd.DataFrame:
    """A row a promise: subject, setting, quantity, then, before, now, standard_error, promised, kept.

    `then` is what an audit found of the methods that came before, `before` what those give in the experiments that are
    simulated here, `now` what the present ones do; `kept` is whether that is as promised, give or take two Monte Carlo
    standard errors. Raises ValueError if there is no experiment.
    """
    return pd.DataFrame([_row(check) for check in audit(experiments, seed)]).astype({"kept": "boolean"})


def _row(check: Check) -> dict[str, object]:
    return {
        "subject": check.subject,
        "setting": check.setting,
        "quantity": check.quantity,
        "then": check.then,
        "before": check.before,
        "now": check.now,
        "standard_error": check.standard_error,
        "promised": _promised(check),
        "kept": check.kept,
    }


def _promised(check: Check) -> str:
    if check.least is None or check.most is None:
        return "-"
    if check.most == 1:
        return f"at least {check.least:g}"
    return f"{check.least:g} to {check.most:g}" if check.least else f"at most {check.most:g}"
