"""The all-convolutional network (Springenberg et al. 2014, arXiv:1412.6806)."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from models import activations
from models.layers.batch_normalization import BatchNormalized
from models.layers.dense import Dense
from models.layers.hidden import Hidden, kernel_initializer, matched_widths
from models.layers.stack import check_choices, check_positive
from models.mlp import Initialization

Normalization = Literal["none", "batch"]
CHOICES = {
    "match": Literal["parameters", "width"],
    "initialization": Initialization,
    "normalization": Normalization,
}


class ConvNet(nn.Module):
    """Convolutions, each followed by an activation, then the mean over the image and a dense layer.

    The defaults are the CIFAR-10 network of Hendrycks and Gimpel (2016, appendix B); the authors' code adds batch
    normalization and input noise of 0.15. Raises ValueError as `check` does.
    """

    channels: int = 3
    """Channels of the images."""
    widths: tuple[int, ...] = (96,) * 3 + (192,) * 6
    """Channels of each convolution with a plain activation; those with a gated one are derived from them."""
    kernels: tuple[int, ...] = (3,) * 7 + (1,) * 2
    """Height and width of each convolution's kernel."""
    padding: tuple[int, ...] = (1,) * 6 + (0,) * 3
    """Zero padding of each convolution."""
    pool_after: tuple[int, ...] = (3, 6)
    """Convolutions, counted from 1, that are followed by 2x2 max pooling."""
    classes: int = 10
    """Number of classes."""
    activation: str | activations.Activation = "gelu"
    """Activation of the convolutions, a name or an Activation; a gated one makes them gated."""
    match: Literal["parameters", "width"] = "parameters"
    """Quantity that gated layers share with plain ones."""
    normalization: Normalization = "none"
    """Normalization after each linear map, including the last, before its activation; "batch" replaces its bias."""
    dropout: float = 0.5
    """Dropout rate after each pooling, in training only."""
    input_noise: float = 0.0
    """Standard deviation of the Gaussian noise added to the images, in training only."""
    initialization: Initialization = "xavier"
    """Initialization of kernels; unit_norm is normal, with incoming weights of norm 1."""

    def __post_init__(self) -> None:
        self.activation = activations.activation(self.activation)
        super().__post_init__()

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Channels of the convolutions: `widths`, or the matched widths of gated layers."""
        activation, areas = activations.activation(self.activation), [size**2 for size in self.kernels]
        return matched_widths(self.channels, self.widths, self.classes, activation, self.match, areas)

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields."""
        check_choices(self, CHOICES)
        check_positive(self, ("channels", "classes"))
        for field, least in (("widths", 1), ("kernels", 1), ("padding", 0)):
            values = getattr(self, field)
            if not values or min(values) < least or len(values) != len(self.widths):
                raise ValueError(f"{field} is {values}: it must be {len(self.widths)} numbers, each at least {least}")
        if any(not 1 <= layer <= len(self.widths) for layer in self.pool_after):
            raise ValueError(f"pool_after is {self.pool_after}: it must name convolutions from 1 to {len(self.widths)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be at least 0 and less than 1")
        if not self.input_noise >= 0:
            raise ValueError(f"input_noise is {self.input_noise}: it must be at least 0")

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Class logits. Raises ValueError as `check` does, and for images that are too small or have other channels."""
        self.check()
        if images.shape[3] != self.channels:
            raise ValueError(f"images have {images.shape[3]} channels: the model takes {self.channels}")
        x, draw = images, kernel_initializer(self.initialization)
        if train and self.input_noise:
            x = x + self.input_noise * jax.random.normal(self.make_rng("dropout"), x.shape)
        layers = zip(self.hidden_widths, self.kernels, self.padding, strict=True)
        for i, (width, size, padding) in enumerate(layers, start=1):
            convolution = partial(nn.Conv, kernel_size=(size, size), padding=padding, kernel_init=draw)
            linear = self.normalized(convolution, train)
            x = Hidden(activations.activation(self.activation), linear, width, name=f"layer_{i - 1}")(x, train=train)
            if i in self.pool_after:
                x = nn.max_pool(x, (2, 2), (2, 2))
                x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout_{i - 1}")(x)
            if not x.size:
                raise ValueError(f"images are {images.shape[1:3]}: too small, they are empty after convolution {i}")
        head = self.normalized(partial(Dense, kernel_init=draw), train)
        return head(self.classes, name="head")(x.mean(axis=(1, 2)))

    @nn.nowrap
    def normalized(self, linear: Callable[..., nn.Module], train: bool) -> Callable[..., nn.Module]:
        """The constructor of a linear map, or of one without bias followed by the normalization."""
        if self.normalization == "none":
            return linear
        return partial(BatchNormalized, partial(linear, use_bias=False), train=train)
