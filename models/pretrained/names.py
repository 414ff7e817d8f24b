"""Names of the activations in transformers."""

from models.activations import Activation, activation, glu_of

# The first name is the one that is written.
ACTIVATIONS = {
    "gelu": ("gelu", "gelu_python"),
    "gelu_tanh": ("gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_python_tanh", "gelu_accurate"),
    "gelu_quick": ("quick_gelu",),
    "silu": ("silu", "swish"),
    "relu": ("relu",),
    "relu2": ("relu2",),
    "leaky_relu": ("leaky_relu",),
    "identity": ("linear",),
    "hard_swish": ("hardswish",),
    "mish": ("mish",),
    "sigmoid": ("sigmoid",),
    "tanh": ("tanh",),
    "prelu": ("prelu",),
    "xielu": ("xielu",),
}


def activation_name(value: str | Activation) -> str:
    """The transformers name of an activation (for a gated one, of its gate); unknown ones keep their name."""
    name = activation(value).name
    for ours, names in ACTIVATIONS.items():
        if name in (ours, glu_of(ours).name):
            return names[0]
    return name
