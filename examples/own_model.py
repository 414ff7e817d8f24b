"""A model of one's own: any Flax module with a field `activation`.

Run:  python examples/own_model.py
Then: ablations swap results/own_model/cells/gelu-* --activation silu --experiment examples/own_model.py
"""

from typing import Any

import flax.linen as nn

from ablations import CausalLanguage, Experiment, Settings, compare, run


class Convolutional(nn.Module):
    """Predicts the next byte from the last eight, by causal convolutions."""

    activation: Any = "gelu"  # what the experiment varies: in the forward pass it is a function
    width: int = 16
    n_layers: int = 1

    @nn.compact
    def __call__(self, tokens):
        """Tokens [batch, length] -> logits [batch, length, 256]."""
        x = nn.Embed(256, self.width, name="token_embedding")(tokens)
        for i in range(self.n_layers):
            # Name every submodule: its initial weights are drawn by its name, alike for every activation.
            conv = nn.Conv(4 * self.width, kernel_size=(8,), padding="CAUSAL", name=f"conv_{i}")
            x = x + nn.Dense(self.width, name=f"down_{i}")(self.activation(conv(x)))
        return nn.Dense(256, name="head")(x)


experiment = Experiment(
    name="own_model",
    question="Which activation should my model use?",
    task=CausalLanguage(data="stdlib", context=32, evaluation_windows=64),
    model=Convolutional(),
    activations=("gelu", "relu", "tanh"),  # gated and learned ones need ablations.FeedForward in place of the layer
    baseline="gelu",
    seeds=(0, 1, 2, 3, 4),
    axes=(),  # (("model.n_layers", (1, 2)),) would vary the depth too: any field of model, task and settings
    settings=Settings(steps=200, batch_size=8),
    learning_rates=(5e-3,),  # leave it out and every arm is tuned, which takes three times as long
)

if __name__ == "__main__":
    results = run(experiment)
    print(compare(results.directory))
    print(f"report: {results.directory}/report.html")
