"""Three activations of one's own, plain, learned and gated, in a small language model.

Run:  python examples/own_activation.py
"""

import jax.numpy as jnp

from ablations import Activation, CausalLanguage, Experiment, Settings, Transformer, compare, run

# Plain: a function of an array, element by element. The name is its name in every table and figure.
squareplus = Activation("squareplus", lambda x: (x + jnp.sqrt(x**2 + 4)) / 2)

# Learned: parameters with their initial values, one set a layer. They come as keyword arguments.
leaky = Activation("leaky", lambda x, slope: jnp.where(x > 0, x, slope * x), parameters=(("slope", 0.1),))

# Gated: a function of two arrays. The layer becomes narrower, so that it has as many parameters as a plain one.
tanh_unit = Activation("tanh_unit", lambda gate, value: jnp.tanh(gate) * value, gated=True)

experiment = Experiment(
    name="own_activation",
    question="Do activations of my own beat GELU?",
    task=CausalLanguage(data="stdlib", context=32, evaluation_windows=64),  # predict the next byte of Python code
    model=Transformer(context=32, d_model=32, n_layers=1, n_heads=2, initialization="lecun"),
    activations=("gelu", squareplus, leaky, tanh_unit),  # built-in ones by name
    baseline="gelu",
    seeds=(0, 1, 2, 3, 4),  # the same seed means the same initial weights and batches for every activation
    settings=Settings(steps=200, batch_size=8),
    learning_rates=(1e-2,),  # leave it out and every arm is tuned, which takes three times as long
)

if __name__ == "__main__":
    results = run(experiment)  # a second call finds everything there and trains nothing
    print(compare(results.directory))
    print(f"report: {results.directory}/report.html")
