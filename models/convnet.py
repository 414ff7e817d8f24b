"""The all-convolutional network of images (Springenberg et al. 2014, arXiv:1412.6806)."""

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
    """Convolutions with an activation behind each, then the mean over the image and a dense layer.

    The defaults are the network of CIFAR-10 in Hendrycks and Gimpel (2016, appendix B); its authors' code adds batch
    normalization and an input noise of 0.15. Raises ValueError as `check` does.
    """

    channels: int = 3
    """Channels of the images."""
    widths: tuple[int, ...] = (96,) * 3 + (192,) * 6
    """Channels of each convolution of a plain activation, from which those of a gated one are derived."""
    kernels: tuple[int, ...] = (3,) * 7 + (1,) * 2
    """Height and width of each convolution's kernel."""
    padding: tuple[int, ...] = (1,) * 6 + (0,) * 3
    """Zeros around the input of each convolution."""
    pool_after: tuple[int, ...] = (3, 6)
    """Convolutions, counted from 1, behind which 2x2 maxima are taken."""
    classes: int = 10
    """Number of classes."""
    activation: str | activations.Activation = "gelu"
    """Activation of the convolutions, kept as an Activation if given by name; a gated one makes them gated."""
    match: Literal["parameters", "width"] = "parameters"
    """What the gated layers have in common with the plain ones."""
    normalization: Normalization = "none"
    """What stands behind each linear map, the last one too, and before its activation; "batch" takes over its bias."""
    dropout: float = 0.5
    """Rate on what comes out of each pooling, in training only."""
    input_noise: float = 0.0
    """Standard deviation of the normal noise that is added to the images, in training only."""
    initialization: Initialization = "xavier"
    """How kernels are drawn; unit_norm is normal, with incoming weights of norm 1."""

    def __post_init__(self) -> None:
        self.activation = activations.activation(self.activation)
        super().__post_init__()

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Channels of the convolutions: `widths`, or those of gated layers that match them."""
        activation, areas = activations.activation(self.activation), [size**2 for size in self.kernels]
        return matched_widths(self.channels, self.widths, self.classes, activation, self.match, areas)

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, if fields are not allowed."""
        check_choices(self, CHOICES)
        check_positive(self, ("channels", "classes"))
        for field, least in (("widths", 1), ("kernels", 1), ("padding", 0)):
            values = getattr(self, field)
            if not values or min(values) < least or len(values) != len(self.widths):
                raise ValueError(f"{field} is {values}, it must be {len(self.widths)} numbers from {least} on")
        if any(not 1 <= layer <= len(self.widths) for layer in self.pool_after):
            raise ValueError(f"pool_after is {self.pool_after}, there are convolutions 1 to {len(self.widths)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, it must be at least 0 and less than 1")
        if not self.input_noise >= 0:
            raise ValueError(f"input_noise is {self.input_noise}, it must be at least 0")

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Logits of the classes. Raises ValueError as `check` does, and for images of other channels or too small."""
        self.check()
        if images.shape[3] != self.channels:
            raise ValueError(f"images have {images.shape[3]} channels, the model takes {self.channels}")
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
                raise ValueError(f"images are {images.shape[1:3]}: nothing is left of them behind convolution {i}")
        head = self.normalized(partial(Dense, kernel_init=draw), train)
        return head(self.classes, name="head")(x.mean(axis=(1, 2)))

    @nn.nowrap
    def normalized(self, linear: Callable[..., nn.Module], train: bool) -> Callable[..., nn.Module]:
        """The maker of a linear map as it is, or of one without a bias, followed by the normalization."""
        if self.normalization == "none":
            return linear
        return partial(BatchNormalized, partial(linear, use_bias=False), train=train)
