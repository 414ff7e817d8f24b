"""The Vision Transformer: an encoder of image patches (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.layers.dense import Dense
from models.layers.stack import Given, Stack, check_positive


class VisionTransformer(Stack):
    """An image classifier; patches are read row by row, after a learned class token that predicts the class.

    The last hidden state is sown as `last_hidden_state` in "intermediates".
    """

    image_size: tuple[int, int] = (224, 224)
    """Height and width of the images, in pixels."""
    patch_size: tuple[int, int] = (16, 16)
    """Height and width of a patch; must divide the image's."""
    channels: int = 3
    """Channels of the images."""
    classes: int = 1000
    """Number of classes."""

    @property
    def n_patches(self) -> int:
        """Number of patches of an image."""
        return (self.image_size[0] // self.patch_size[0]) * (self.image_size[1] // self.patch_size[1])

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields."""
        check_positive(self, ("channels", "classes"))
        for image, patch in zip(self.image_size, self.patch_size, strict=True):
            if not 0 < patch <= image or image % patch:
                raise ValueError(f"patch_size is {self.patch_size}: it must divide image_size, {self.image_size}")
        super().check(length)

    @nn.compact
    def __call__(
        self, images: Float[Given, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Class logits. Raises ValueError as `check` does, and for images of another shape."""
        self.check()
        if images.shape[1:] != (*self.image_size, self.channels):
            raise ValueError(f"images are {images.shape[1:]}: the model takes {(*self.image_size, self.channels)}")
        embed = Dense(self.d_model, True, self.dtype, kernel_init=self.kernel_init, name="patch_embedding")
        patches = embed(self.patches(jnp.asarray(images)))
        token = self.param("class_token", nn.initializers.normal(self.init_std), (self.d_model,))
        first = jnp.broadcast_to(token.astype(patches.dtype), (len(images), 1, self.d_model))
        x = jnp.concatenate([first, patches], axis=1)
        places = jnp.arange(x.shape[1])[None]
        x = self.place(x, places, x.shape[1])
        if self.embedding_norm:
            x = self.normalize("embedding_norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        x = self.layers(x, self.attention_context(places, False, None), train=train)
        self.sow("intermediates", "last_hidden_state", x)
        return Dense(self.classes, True, self.dtype, "float32", self.kernel_init, name="head")(x[:, 0])

    @nn.nowrap
    def patches(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch patches pixels"]:
        """The pixels of each patch, row by row."""
        (height, width), (h, w) = self.image_size, self.patch_size
        grid = images.reshape(len(images), height // h, h, width // w, w, self.channels)
        return grid.transpose(0, 1, 3, 2, 4, 5).reshape(len(images), self.n_patches, h * w * self.channels)
