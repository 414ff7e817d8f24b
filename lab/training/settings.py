"""Static `Settings`, fixed at compilation, and traced `Hyperparameters`, which may differ between runs."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from flax import struct

from lab.files.choices import check_choice

Optimizer = Literal["adamw", "adam", "sgd", "adafactor", "lion", "muon"]
Schedule = Literal["cosine", "linear", "constant", "inverse_sqrt", "wsd"]
Regularization = Literal["decoupled", "l2"]
Precision = Literal["default", "high", "highest"]
TrainingLoss = Literal["with_dropout", "without_dropout"]
CHOICES = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "regularization": Regularization,
    "training_loss": TrainingLoss,
    "matmul_precision": Precision,
}

EVALUATED = ("validation", "test")  # splits
TRAINING_PASSES = 3  # a step costs a forward pass and a backward pass of twice its matrix products

Traced = float | Any  # a number in an experiment; an array or tracer in a program


@dataclass(frozen=True)
class Settings:
    """Static settings of training: cells that differ here are different compiled programs."""

    steps: int = 1000
    """Optimizer steps."""
    batch_size: int = 16
    """Examples per step."""
    accumulate: int = 1
    """Gradient accumulation: parts of a batch that are processed in sequence to save memory; must divide batch_size."""
    optimizer: Optimizer = "adamw"
    """Optimizer."""
    regularization: Regularization = "decoupled"
    """Kind of weight decay: decoupled from the gradient, on kernels and embeddings only (not with adam and sgd);
    or l2, in the gradient, only with adam and sgd, also on the scales of normalizations."""
    schedule: Schedule = "cosine"
    """Learning rate after the warmup: cosine and linear decay throughout; wsd is constant, then linear to 0."""
    warmup_steps: int | None = None
    """Steps of linear warmup; default: 5 % of steps."""
    decay_steps: int | None = None
    """Steps at the end over which wsd and inverse_sqrt decay to zero, at most all; default: 20 % of steps for wsd, none
    for inverse_sqrt."""
    final_ratio: float = 0.1
    """Final value of cosine and linear, as a fraction of the peak; default: 10 %, as in GPT-3 and LLaMA."""
    late_b1: float | None = None
    """b1 in the second half of the steps, only with adam; default: the same as in the first half."""
    evaluate_every: int | None = None
    """Steps between evaluations; default: 10 % of steps. Step 0 and the last step are always evaluated."""
    final_evaluation: float = field(default=0.15, metadata={"since": "0.2.0", "before": 0.0})
    """Share of the cost of training that the evaluation at the last step may take, of validation and test together: it
    is on as many examples, at least those of the curve and at most all. 0 is those of the curve."""
    checkpoint_every: int = 5
    """Evaluations between checkpoints; the last step is always saved."""
    z_loss: float = 0.0
    """Weight of the squared log-normalizer of the logits (PaLM's z-loss), added to the training loss."""
    training_loss: TrainingLoss = "with_dropout"
    """The recorded training loss: the one being minimized, or that of the same batch without dropout."""
    init_seed: int | None = None
    """Seed of the initial weights of all runs; default: each run's own seed."""
    order_seed: int | None = None
    """Seed of the batches of all runs and of their order; default: each run's own seed."""
    matmul_precision: Precision = "default"
    """Precision of f32 matrix products; GPUs and TPUs reduce it silently unless it is 'highest'."""

    @property
    def warmup(self) -> int:
        """Steps of warmup."""
        return max(1, self.steps // 20) if self.warmup_steps is None else self.warmup_steps

    @property
    def decay(self) -> float:
        """Steps over which wsd decays, and inverse_sqrt if they are set."""
        return 0.2 * self.steps if self.decay_steps is None else float(self.decay_steps)

    @property
    def interval(self) -> int:
        """Steps between two evaluations."""
        return max(1, self.steps // 10) if self.evaluate_every is None else self.evaluate_every

    @property
    def final_examples(self) -> int:
        """Examples of validation, and as many of test, that the evaluation at the last step may take: it is a forward
        pass of each, where a step of training is as much as three."""
        return int(self.final_evaluation * TRAINING_PASSES * self.steps * self.batch_size / len(EVALUATED))

    def check(self) -> None:
        """Raises ValueError, naming the field, its value and what is allowed, if a field is out of range."""
        for name, choices in CHOICES.items():
            check_choice(f"settings.{name}", getattr(self, name), get_args(choices))
        for name in ("steps", "batch_size", "accumulate", "decay_steps", "evaluate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"settings.{name} is {value}: it must be at least 1")
        if self.warmup < 0 or self.warmup > self.steps:
            raise ValueError(f"settings.warmup_steps is {self.warmup_steps}: it must lie in 0 to steps ({self.steps})")
        if self.decay_steps is not None and self.decay_steps > self.steps:
            raise ValueError(f"settings.decay_steps is {self.decay_steps}: it must lie in 1 to steps ({self.steps})")
        if self.batch_size % self.accumulate:
            raise ValueError(f"settings.accumulate is {self.accumulate}: it must divide batch_size ({self.batch_size})")
        for name in ("init_seed", "order_seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**32:
                raise ValueError(f"settings.{name} is {value}: it must be a whole number in 0 to 2**32 - 1")
        if not 0 <= self.final_evaluation < float("inf"):
            raise ValueError(f"settings.final_evaluation is {self.final_evaluation}: it must be zero or positive")
        if not 0 <= self.z_loss < float("inf"):
            raise ValueError(f"settings.z_loss is {self.z_loss}: it must be zero or positive")
        self._check_rule()

    def _check_rule(self) -> None:
        """Raises ValueError if regularization, final_ratio or late_b1 are out of range or need another optimizer."""
        if self.regularization == "l2" and self.optimizer not in ("adam", "sgd"):
            raise ValueError(f"settings.regularization is 'l2': it goes with adam and sgd, not with {self.optimizer}")
        if not 0 <= self.final_ratio <= 1:
            raise ValueError(f"settings.final_ratio is {self.final_ratio}: it must lie in 0 to 1")
        if self.late_b1 is not None and self.optimizer != "adam":
            raise ValueError(f"settings.late_b1 is {self.late_b1}: it goes with adam, not with {self.optimizer}")
        if self.late_b1 is not None and not 0 <= self.late_b1 < 1:
            raise ValueError(f"settings.late_b1 is {self.late_b1}: it must lie in [0, 1)")


@struct.dataclass
class Hyperparameters:
    """Traced hyperparameters: runs of one compiled program may differ in every field."""

    learning_rate: Traced = 1e-3
    """Peak of the schedule."""
    weight_decay: Traced = 0.1
    """Decoupled: a kernel shrinks by learning_rate * weight_decay per step; l2: weight_decay * kernel is added to its
    gradient."""
    b1: Traced = 0.9
    """Decay of the first moment (momentum with sgd and muon, which use Nesterov's)."""
    b2: Traced = 0.95
    """Decay of the second moment."""
    eps: Traced = 1e-8
    """Added to the root of the second moment."""
    clip_norm: Traced = 1.0
    """Largest global norm of the gradient; inf switches clipping off."""
    eps_root: Traced = 0.0
    """Added to the second moment under the root, with adam and adamw."""
    activation_constant: Traced | None = field(default=None, metadata={"since": "0.2.0"})
    """The constant of an activation that has one: leaky_relu2's slope below 0, smooth_relu2's width of the bend;
    default: the activation's own."""

    def check(self) -> None:
        """Raises ValueError, naming the field and its value, if a field is out of range."""
        for name in ("learning_rate", "eps", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"hyperparameters.{name} is {getattr(self, name)}: it must be positive")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"hyperparameters.learning_rate is {self.learning_rate}: it must be finite")
        for name in ("weight_decay", "eps_root"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"hyperparameters.{name} is {getattr(self, name)}: it must be zero or positive")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"hyperparameters.{name} is {getattr(self, name)}: it must lie in [0, 1)")
        if self.activation_constant is not None and not math.isfinite(self.activation_constant):
            raise ValueError(f"hyperparameters.activation_constant is {self.activation_constant}: it must be finite")


@dataclass(frozen=True)
class Run:
    """One training run of a cell: an element of the run axis."""

    seed: int
    hyperparameters: Hyperparameters

    @property
    def identity(self) -> dict[str, int | float | str]:
        """The run as JSON: its seed and every hyperparameter. Equal identities mean the same run."""
        given = {field.name: getattr(self.hyperparameters, field.name) for field in fields(Hyperparameters)}
        values = {name: float(value) for name, value in given.items() if value is not None}
        finite = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        return {"seed": self.seed, **finite}  # JSON has no infinity

    @classmethod
    def of(cls, identity: dict[str, int | float | str]) -> "Run":
        """The run that has this identity."""
        values = {name: float(value) for name, value in identity.items() if name != "seed"}
        return cls(int(identity["seed"]), Hyperparameters(**values))
