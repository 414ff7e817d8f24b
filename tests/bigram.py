"""The smallest model of text: what is trained where any network does, as it compiles in a third of the time."""

import flax.linen as nn

from models.activations import Activation, activation


class Bigram(nn.Module):
    """Logits of the next token from the last one alone."""

    activation: Activation = activation("gelu")
    width: int = 8
    vocab_size: int = 256

    def check(self, context):
        """Takes any length."""

    @nn.compact
    def __call__(self, tokens, mask=None, *, train=False):
        x = nn.Embed(self.vocab_size, self.width, name="embedding")(tokens)
        return nn.Dense(self.vocab_size, name="head")(self.activation(x))
