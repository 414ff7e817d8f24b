"""What transformers calls the activations."""

from models.activations import Activation, activation, glu_of

# The name that is written first.
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
    """The name in transformers of a pointwise activation, of a gated one that of its gate; an unknown one's own."""
    name = activation(value).name
    for ours, names in ACTIVATIONS.items():
        if name in (ours, glu_of(ours).name):
            return names[0]
    return name
