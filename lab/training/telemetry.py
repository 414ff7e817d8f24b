"""The telemetry of a wave of runs as it grows: rows of every evaluation, and the spikes of loss and gradient norm."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

Key = tuple[str, str, str]  # layer, site, metric
COLUMNS = ["run", "step", "split", "layer", "site", "metric", "value"]


@dataclass(frozen=True)
class Probe:
    """What looks inside networks while they train: functions that training takes as arguments."""

    measure: Callable[..., dict[Key, Any]]
    """`lab.probes.telemetry.measure`."""
    order: Callable[[Iterable[Key]], list[Key]]
    """`lab.probes.telemetry.in_order`."""
    spikes: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """`lab.statistics.curves.spikes.spikes`."""
    window: int
    """Number of earlier values that it needs."""


class Telemetry:
    """Rows with run (its index), step, split, layer, site, metric and value."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._table = pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS})
        self._recent: dict[str, Float[np.ndarray, "runs earlier"]] = {}
        self._spikes: dict[str, Float[np.ndarray, " runs"]] = {}

    def add(self, step: int, split: str, found: Mapping[Key, Float[np.ndarray, " runs"]]) -> None:
        """Add what was measured at a step."""
        keys = self._probe.order(found)
        values = np.stack([np.asarray(found[key], np.float64) for key in keys])
        layer, site, metric = (np.repeat(np.array(names, object), values.shape[1]) for names in zip(*keys, strict=True))
        named = {"layer": layer, "site": site, "metric": metric, "value": values.ravel()}
        run = np.tile(np.arange(values.shape[1]), len(keys))
        fresh = pd.DataFrame({"run": run, "step": step, "split": split, **named})
        self._table = fresh if self._table.empty else pd.concat([self._table, fresh], ignore_index=True)

    def follow(self, step: int, each: Mapping[str, Float[np.ndarray, "runs steps"]]) -> None:
        """Add the spike score, spikes / steps, of every quantity up to `step`, given its values at all steps since the
        last call; nan from the first value that is not finite."""
        found: dict[Key, np.ndarray] = {}
        for name, values in each.items():
            before = self._recent.get(name, values[:, :0])
            finite = np.isfinite(values).all(axis=-1)
            new = np.where(finite, self._probe.spikes(values, before).sum(axis=-1), np.nan)
            self._spikes[name] = self._spikes.get(name, np.zeros(len(values))) + new
            self._recent[name] = np.concatenate([before, values], axis=-1)[:, -self._probe.window :]
            found["", name, "spike_score"] = self._spikes[name] / step
        self.add(step, "train", found)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "rows": base64.b64encode(self._table.to_parquet(index=False)).decode(),
            "recent": {name: base64.b64encode(_bytes(values)).decode() for name, values in self._recent.items()},
            "spikes": {name: values.tolist() for name, values in self._spikes.items()},
        }

    @classmethod
    def of(cls, probe: Probe, form: Mapping[str, Any]) -> "Telemetry":
        """The inverse of `to_json`."""
        made = cls(probe)
        made._table = pd.read_parquet(io.BytesIO(base64.b64decode(form["rows"])))
        made._recent = {name: _array(base64.b64decode(text)) for name, text in form["recent"].items()}
        made._spikes = {name: np.asarray(values) for name, values in form["spikes"].items()}
        return made

    @property
    def table(self) -> pd.DataFrame:
        """All rows."""
        return self._table


def _bytes(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)
