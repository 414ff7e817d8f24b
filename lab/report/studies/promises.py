"""The table of nominal and simulated error rates: an earlier audit's numbers, and current simulations."""

import pandas as pd

from lab.statistics.calibration.audit import audit
from lab.statistics.calibration.check import Check


def promises(experiments: int = 20_000, seed: int = 0) -> pd.DataFrame:
    """One row per check: subject, setting, quantity, then, before, now, standard_error, promised, kept.

    `then` is the audit's value for the previous methods, `before` the value of those methods in the current
    simulations, `now` the value of the current methods; `kept` is whether it is within the promised range, up to two
    Monte Carlo standard errors. Raises ValueError if there is no experiment.
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
