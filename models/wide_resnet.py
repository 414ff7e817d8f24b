"""The wide residual network (Zagoruyko and Komodakis 2016, arXiv:1605.07146)."""

from functools import partial
from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from models import activations
from models.activations import Activation
from models.layers import telemetry
from models.layers.batch_normalization import BatchNormalized, batch_norm
from models.layers.dense import Dense
from models.layers.hidden import Hidden, matched_widths
from models.layers.stack import check_choices, check_positive

STAGES = (1, 2, 4)
"""Channels of the stages, as multiples; each stage but the first halves height and width."""
AREA = 9  # positions of a 3x3 kernel
HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # He et al. 2015, arXiv:1502.01852, equation 10
GLOROT = nn.initializers.xavier_uniform()
LECUN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class Block(nn.Module):
    """Two 3x3 convolutions, each followed by an activation, then batch normalization, added to the input.

    Dropout is applied between the two. If the shape changes, the input goes through a 1x1 convolution without bias.
    """

    activation: Activation
    width: int
    stride: int = 1
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch smaller_height smaller_width features"]:
        """The sum, without an activation after it."""
        first = partial(nn.Conv, kernel_size=(3, 3), strides=self.stride, padding=1, kernel_init=HE)
        second = partial(first, strides=1)
        y = Hidden(self.activation, first, self.width, self.dropout, name="layer_0")(x, train=train)
        y = Hidden(self.activation, second, self.width, name="layer_1")(y, train=train)
        y = batch_norm(train, name="norm")(y)
        if x.shape != y.shape:
            project = partial(nn.Conv, kernel_size=(1, 1), strides=self.stride, use_bias=False, kernel_init=GLOROT)
            x = project(self.width, name="projection")(x)
        x = x + y
        telemetry.observe(self, "residual", x, telemetry.direction)
        return x


class WideResNet(nn.Module):
    """A convolution, three stages of residual blocks, the mean over the image and a dense layer.

    The defaults are the CIFAR-100 network of Hendrycks and Gimpel (2016, section 3.5), WRN-40-4, as in the authors'
    code: unlike in Zagoruyko and Komodakis, blocks end with the normalization instead of starting with it. A gated
    activation gates every convolution; the last one, which has only a normalization before it, then has two of them.
    Raises ValueError as `check` does.
    """

    channels: int = 3
    """Channels of the images."""
    depth: int = 40
    """Number of convolutions, including the 1x1 ones between stages: 6 n + 4 with n blocks per stage."""
    widening: int = 4
    """Widening factor: stages have 1, 2 and 4 times this factor times the stem's channels."""
    stem: int = 16
    """Channels of the first convolution with a plain activation; those with a gated one are derived from it."""
    classes: int = 100
    """Number of classes."""
    activation: str | activations.Activation = "gelu"
    """Activation of the convolutions, a name or an Activation; a gated one makes them gated."""
    match: Literal["parameters", "width"] = "parameters"
    """Quantity that gated layers share with plain ones."""
    dropout: float = 0.3
    """Dropout rate between the two convolutions of a block, in training only."""

    def __post_init__(self) -> None:
        self.activation = activations.activation(self.activation)
        super().__post_init__()

    @property
    def blocks(self) -> int:
        """Number of blocks per stage."""
        return (self.depth - 4) // 6

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Channels of the 3x3 convolutions, one of the stem and two per block; matched if gated."""
        stages = [self.stem * self.widening * multiple for multiple in STAGES for _ in range(2 * self.blocks)]
        plain = [self.stem, *stages]
        activation, areas = activations.activation(self.activation), [AREA] * len(plain)
        return matched_widths(self.channels, plain, self.classes, activation, self.match, areas)

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields."""
        check_choices(self, {"match": Literal["parameters", "width"]})
        check_positive(self, ("channels", "widening", "stem", "classes"))
        if self.depth < 10 or self.depth % 6 != 4:
            raise ValueError(f"depth is {self.depth}: it must be 6 n + 4 with n blocks per stage: 10, 16, 22, ...")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be at least 0 and less than 1")

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Class logits. Raises ValueError as `check` does, and for images with other channels."""

        def normalization(features: int, name: str) -> nn.BatchNorm:
            return batch_norm(train, name)

        self.check()
        if images.shape[3] != self.channels:
            raise ValueError(f"images have {images.shape[3]} channels: the model takes {self.channels}")
        activation, widths = activations.activation(self.activation), self.hidden_widths
        convolution = partial(nn.Conv, kernel_size=(3, 3), padding=1, use_bias=False, kernel_init=HE)
        stem = partial(BatchNormalized, convolution, train=train)
        x = Hidden(activation, stem, widths[0], name="stem")(images, train=train)
        x = batch_norm(train, name="stem_norm")(x)
        for i, width in enumerate(widths[2::2]):
            stride = 2 if i in (self.blocks, 2 * self.blocks) else 1
            x = Block(activation, width, stride, self.dropout, name=f"block_{i}")(x, train=train)
        x = Hidden(activation, normalization, widths[-1], name="last")(x, train=train)
        return Dense(self.classes, kernel_init=LECUN, name="head")(x.mean(axis=(1, 2)))
