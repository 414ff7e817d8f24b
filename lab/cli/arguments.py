"""What each command takes: a dataclass a command, whose fields are its options. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab.cli.options import positional
from lab.experiment.budget import Budget
from lab.experiment.duration import Duration
from lab.runner.mode import Mode


@dataclass(frozen=True)
class NoArguments:
    """A command without options."""


@dataclass(frozen=True)
class ExperimentArguments:
    """Every field of the experiment can be set; activations, seeds, learning rates and axes are the grid."""

    experiment: Any
    axis: tuple[str, ...] = ()
    """A further field to vary, and its values: --axis model.norm layernorm rmsnorm. May be repeated."""
    init_from: Path | None = None
    """Trained networks to start from: a folder of results, a cell of one, or a Hugging Face folder."""
    ignore: tuple[str, ...] = ()
    """Keys of the config of that Hugging Face folder that count as absent."""


@dataclass(frozen=True)
class StoredArguments(ExperimentArguments):
    """Those of an experiment, and where its results go."""

    out: Path | None = None
    """Folder of the results; results/NAME unless given."""


@dataclass(frozen=True)
class RunArguments(StoredArguments):
    """Those of an experiment, and how it is trained."""

    mode: Mode = Mode()  # noqa: RUF009  (frozen)
    sequential: bool = False
    """Add seeds until every arm is decided, at most the requested ones; the error rate holds over all looks."""
    plan: Path | None = None
    """A plan file (JSON or TOML), hashed into the results before the runs; see docs/how-to/plan-and-gate.md."""


@dataclass(frozen=True)
class CompareArguments:
    """Options of `ablations compare`."""

    directory: Path = positional()  # noqa: RUF009
    """Folder of the results."""
    baseline: str | None = None
    """Activation to compare with, if not the experiment's own."""
    metric: str | None = None
    """Metric to compare, if not the experiment's own; auc:max says which way is better where the task does not."""
    split: str | None = None
    """Split to compare on, if not the experiment's own."""
    step: int | None = None
    """Step to compare at; the last one that all arms have reached unless given."""
    axis: str | None = None
    """An axis to compare too: its main effect, and its interaction with the activation, such as norm."""
    over: str | None = None
    """What verdicts are about, if not the experiment's own: seeds, or seeds_and_text (other texts like this one)."""
    json: bool = False
    """Print JSON in place of the table, and write no report."""


@dataclass(frozen=True)
class GateArguments:
    """Options of `ablations gate`."""

    directory: Path = positional()  # noqa: RUF009
    """Folder of the results."""
    other: Path | None = positional(default=None)  # noqa: RUF009
    """Results of the same experiment made later: whether any arm became worse."""
    plan: Path | None = None
    """A plan file (JSON or TOML) whose rules must hold; see docs/how-to/plan-and-gate.md."""


@dataclass(frozen=True)
class NoiseArguments:
    """Options of `ablations noise`."""

    directory: Path = positional()  # noqa: RUF009
    """Folder of the results."""
    json: bool = False
    """Print JSON in place of the table."""


@dataclass(frozen=True)
class PlanArguments(ExperimentArguments):
    """Those of an experiment, and what it may take to find what."""

    budget: Duration = field(kw_only=True)
    """Time for all runs, such as 90s, 30m or 2h."""
    effect: float = field(kw_only=True)
    """The difference of the metric that is to be found."""
    pilot: Path | None = None
    """Results to tell noise and cost from; unless given, a few seeds are trained into results/NAME-pilot."""
    json: bool = False
    """Print JSON in place of the table."""


@dataclass(frozen=True)
class ReportArguments:
    """Options of `ablations report`."""

    directory: Path = positional()  # noqa: RUF009
    """Folder of the results."""
    other: Path | None = positional(default=None)  # noqa: RUF009
    """Results of the same experiment made elsewhere: the page then says what differs."""
    out: Path | None = None
    """File of the page; DIRECTORY/report.html, or OTHER/contrast.html, unless given."""


@dataclass(frozen=True)
class StudyArguments:
    """Options of `ablations study`; those of a paper's figures are set by the names of its fields."""

    study: Any
    budget: Budget = "short"
    """smoke shows that everything runs, short takes at most an hour on two cores, full is as published."""
    only: tuple[str, ...] = ()
    """Parts to carry out, such as the figures of a paper; all unless given."""
    out: Path | None = None
    """Folder of the results; results/NAME/BUDGET unless given."""


@dataclass(frozen=True)
class SwapArguments:
    """Options of `ablations swap`."""

    directory: Path = positional()  # noqa: RUF009
    """A cell of results, or a Hugging Face folder."""
    activation: str | None = None
    """The new activation."""
    norm: str | None = None
    """The new norm: layernorm or rmsnorm."""
    text: Path | None = None
    """A text to measure on; unless given, the test split of the network's own task."""
    steps: int = 0
    """Steps of further training; 0 trains none."""
    seeds: tuple[int, ...] = ()
    """Seeds of the further training."""
    learning_rate: float | None = None
    """Peak learning rate of the further training."""
    ignore: tuple[str, ...] = ()
    """Keys of a Hugging Face config that count as absent."""
    out: Path | None = None
    """Folder of the results; results/swap unless given."""
    experiment: str | None = None
    """File of the cell's experiment; needed where it defines its model, task or activation."""


@dataclass(frozen=True)
class QuantizeArguments:
    """Options of `ablations quantize`."""

    directory: Path = positional()  # noqa: RUF009
    """Folder of the results, a cell of results, or a Hugging Face folder."""
    recipe: tuple[str, ...] = ()
    """Recipes: w8, w4, w8a8, w8a8_tensor, smoothquant, fp8, w4a4; all unless given."""
    text: tuple[str, ...] = ()
    """Text files to measure on; unless given, the test split of the networks' own task, for a Hugging Face folder that
    of the corpus stdlib."""
    margin: float = 0.001
    """Nats within which a quantized network counts as equivalent."""
    ignore: tuple[str, ...] = ()
    """Keys of a Hugging Face config that count as absent."""
    out: Path | None = None
    """Folder of the page; DIRECTORY/quantization unless given, for a Hugging Face folder results/quantize."""
    experiment: str | None = None
    """File of the experiment; needed where it defines its model, task or activation."""
    json: bool = False
    """Print JSON in place of the table."""


@dataclass(frozen=True)
class ChooseArguments:
    """Options of `ablations choose`."""

    directories: tuple[Path, ...] = positional()
    """Folders of results of one task."""
    latency: float | None = None
    """Milliseconds that a forward pass of one example may take."""
    latency_batch: float | None = None
    """Milliseconds that a forward pass of a batch may take."""
    memory: float | None = None
    """Megabytes that the forward pass of a batch may need."""
    parameters: float | None = None
    """Parameters that the network may have."""
    int8_loss: float | None = None
    """Nats that quantization may add to the loss."""
    stable_rate: float | None = None
    """Learning rate at which every seed must have trained."""
    objective: tuple[str, ...] = ()
    """Measures of the Pareto front: loss, int8_loss, latency_ms and memory_mb unless given."""
    recipe: str = "w8a8"
    """The quantization whose loss counts: w8, w4, w8a8, w8a8_tensor, smoothquant, fp8 or w4a4."""
    batch: int = 32
    """Examples of the batch."""
    out: Path | None = None
    """Folder of the page; choice in the first folder unless given."""
    experiment: str | None = None
    """File of the experiment; needed where it defines its model, task or activation."""
    json: bool = False
    """Print JSON in place of the table."""


@dataclass(frozen=True)
class InspectArguments:
    """Options of `ablations inspect`."""

    directory: Path = positional()  # noqa: RUF009
    """A Hugging Face folder."""
    against: str | None = None
    """Another activation: what serving the network with it costs, as `ablations swap` measures it."""
    text: Path | None = None
    """A text: what happens inside the network on its first windows, by layer; --against measures on it too."""
    ignore: tuple[str, ...] = ()
    """Keys of the config that count as absent."""
    json: bool = False
    """Print JSON in place of the table."""
    out: Path | None = None
    """Folder of what --against measures; results/swap unless given."""


@dataclass(frozen=True)
class CalibrateArguments:
    """Options of `ablations calibrate`."""

    experiments: int = 20_000
    """Simulated experiments of each kind."""
    out: Path = Path("results/calibration")
    """Folder of the table and the figure."""


@dataclass(frozen=True)
class DataArguments:
    """Options of `ablations data`."""

    action: Literal["list", "prepare", "check"] = positional()
    """List the sets, or prepare or check the one that is named."""
    name: str | None = positional(default=None)
    """A set of the list, text:PATH, or a name of TFDS."""
