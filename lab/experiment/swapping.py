"""Networks with a swapped norm or activation: the text on which they are compared, and their further training."""

from dataclasses import dataclass
from typing import Any

from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment, Named, grid
from lab.experiment.init_from import InitFrom
from lab.surgery.centring import centred_model
from lab.surgery.swap import norm_of, swapped_model
from lab.tasks.language import CausalLanguage
from lab.tasks.masked import MaskedLanguage
from lab.tasks.spans import SpanCorruption
from lab.training.settings import Hyperparameters, Settings
from models.activations import activation
from models.families import family
from models.model import with_activation
from models.transformer import EncoderDecoder, Transformer

BATCH = 8
"""Windows on which two networks are compared at once."""
LONGEST = 128
"""Maximum tokens of a window of text, since the values of all layers for a batch are in memory."""


def text_task(model: Any, data: str, tokenizer: str) -> Any:
    """What a network of this shape learned from text: a decoder the next token, an encoder those that are masked, an
    encoder-decoder the spans that are missing.

    `data` and `tokenizer` are as in `lab.tasks.windows.Windows`. Raises ValueError for a model that reads no text.
    """
    if isinstance(model, EncoderDecoder):
        kind: Any = SpanCorruption
    elif isinstance(model, Transformer):
        kind = CausalLanguage if model.architecture == "decoder" else MaskedLanguage
    else:
        raise ValueError(f"a {type(model).__name__} reads no text: it must be a Transformer or an EncoderDecoder")
    return kind(data=data, tokenizer=tokenizer, context=min(model.context, LONGEST))


def recovery(
    name: str,
    task: Any,
    model: Any,
    start: InitFrom,
    others: tuple[Named, ...],
    norm: str | None,
    seeds: tuple[int, ...],
    settings: Settings,
    hyperparameters: Hyperparameters,
) -> Experiment:
    """The experiment that trains a network on, as it was and with other activations, another norm, and both.

    All arms begin with the weights at `start`, those of (`model`) swapped, and read the same batches. The arms' other
    fields are the same, so that a plain layer beside a gated one has biases too, which begin at 0.
    """
    first = activation(model.activation)
    arms = tuple(dict.fromkeys([first, *map(activation, others)]))
    common = centred_model(model) if start.fold else model
    for arm in arms:
        common = with_activation(swapped_model(common, arm, norm), first)
    own = norm_of(model)
    if own is not None:
        common = common.clone(norm=own)
    norms = tuple(dict.fromkeys([own, norm or own]))
    return Experiment(
        name=name,
        question="Does the network recover from the change when it is trained on?",
        task=task,
        model=common,
        activations=arms,
        axes=(("model.norm", norms),) if len(norms) > 1 else (),
        seeds=seeds,
        learning_rates=(float(hyperparameters.learning_rate),),
        init_from=start,
        baseline=first.name,
        settings=settings,
        hyperparameters=hyperparameters,
    )


@dataclass(frozen=True)
class Size:
    """The size of a study's networks, the length of training and of further training, and the number of seeds."""

    d_model: int
    n_layers: int
    context: int
    learning_rate: float
    steps: int
    more: int
    batch_size: int
    seeds: int


SIZES: dict[Budget, Size] = {
    "smoke": Size(16, 1, context=16, learning_rate=3e-3, steps=10, more=4, batch_size=4, seeds=2),
    "short": Size(64, 2, context=64, learning_rate=3e-3, steps=500, more=50, batch_size=16, seeds=5),
    "full": Size(512, 8, context=256, learning_rate=1e-3, steps=4000, more=400, batch_size=64, seeds=5),
}
RATE_FRACTION = 0.1
"""Peak of training on as a share of that before."""


def pretraining(name: str, shape: str, activations: tuple[str, ...], size: Size) -> Experiment:
    """The experiment that trains a decoder in the manner of GPT-2, or an encoder in that of BERT."""
    kind: Any = CausalLanguage if shape == "decoder" else MaskedLanguage
    task = kind(data="stdlib", context=size.context)
    return Experiment(
        name=name,
        question=f"What does the {shape} learn with each activation?",
        task=task,
        model=network(shape, task.vocab_size, size),
        activations=activations,
        seeds=tuple(range(size.seeds)),
        learning_rates=(size.learning_rate,),
        settings=Settings(steps=size.steps, batch_size=size.batch_size),
    )


def network(shape: str, vocab_size: int, size: Size) -> Any:
    """GPT-2 or BERT, so small; with a deviation of 0.02 so narrow a network would be almost linear at the start."""
    own: dict[str, Any] = {"vocab_size": vocab_size, "context": size.context, "initialization": "lecun"}
    own |= {"d_model": size.d_model, "n_layers": size.n_layers, "n_heads": max(2, size.d_model // 16)}
    return family("gpt2", "small", **own) if shape == "decoder" else family("bert", "base", **own, token_types=0)


def going_on(
    trained: Experiment, others: tuple[Named, ...], norm: str | None, size: Size, fold: bool = False
) -> Experiment:
    """The experiment that goes on from the networks of the first activation, in a folder beside theirs, at a share of
    their learning rate; `fold` as in `lab.experiment.init_from.InitFrom`."""
    first = grid(trained)[0]
    return recovery(
        f"{trained.name}_{'folded' if fold else 'on'}",
        trained.task,
        first.model,
        InitFrom(first.name, f"../{trained.name}/cells/{first.name}", fold),
        others,
        norm,
        trained.seeds,
        Settings(steps=size.more, batch_size=size.batch_size),
        Hyperparameters(learning_rate=RATE_FRACTION * size.learning_rate),
    )
