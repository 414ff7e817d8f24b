"""What is asked of a trained network whose norm or activation is to be changed: on which text, and trained on how."""

from dataclasses import replace
from typing import Any

from experiments.experiment import Experiment, Named
from experiments.start import Start
from models.activations import activation
from models.transformer import EncoderDecoder, Transformer
from probes.centring import centred_model
from probes.swap import swapped_model
from tasks.language import CausalLanguage
from tasks.masked import MaskedLanguage
from tasks.spans import SpanCorruption
from training.settings import Hyperparameters, Settings

LONGEST = 128
"""Tokens of a window of text, if the model can take so many: layers drift alike in short and long ones."""


def text_task(model: Any, data: str, tokenizer: str) -> Any:
    """What a network of this shape learned from text: a decoder the next token, an encoder those that are masked, an
    encoder-decoder the spans that are missing.

    `data` and `tokenizer` are as in `tasks.windows.Windows`. Raises ValueError for a model of something else than text.
    """
    if isinstance(model, EncoderDecoder):
        kind: Any = SpanCorruption
    elif isinstance(model, Transformer):
        kind = CausalLanguage if model.architecture == "decoder" else MaskedLanguage
    else:
        raise ValueError(f"a {type(model).__name__} reads no text: only networks of text and cells of ours are swapped")
    return kind(data=data, tokenizer=tokenizer, context=min(model.context, LONGEST))


def recovery(
    name: str,
    task: Any,
    model: Any,
    start: Start,
    changed_to: Named | None,
    norm: str | None,
    seeds: tuple[int, ...],
    settings: Settings,
    hyperparameters: Hyperparameters,
) -> Experiment:
    """The experiment that trains a network on, as it was and with another activation, another norm, and both.

    All arms begin with the weights at `start`, those of (`model`) swapped, and read the same batches. The arms' other
    fields are the same, so that a plain layer beside a gated one has biases too, which begin at 0.
    """
    first = activation(model.activation)
    arms = tuple(dict.fromkeys([first, activation(changed_to) if changed_to is not None else first]))
    common = centred_model(model) if start.fold else model
    common = swapped_model(common, arms[-1], norm).clone(activation=first, norm=model.norm)
    norms = tuple(dict.fromkeys([model.norm, norm or model.norm]))
    return Experiment(
        name=name,
        question="Does the network recover from the change when it is trained on?",
        task=task,
        model=common,
        activations=arms,
        axes=(("model.norm", norms),) if len(norms) > 1 else (),
        seeds=seeds,
        start=start,
        baseline=first.name,
        settings=settings,
        hyperparameters=replace(hyperparameters),
    )
