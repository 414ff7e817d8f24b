"""A language model of one's own text files: the documents of this repository, or what is given.

Run:  python examples/own_text.py ["path/to/**/*.txt"]
"""

import sys
from pathlib import Path

from ablations import CausalLanguage, Experiment, Settings, Transformer, compare, run

HERE = Path(__file__).resolve().parents[1]
FILES = sys.argv[1] if __name__ == "__main__" and sys.argv[1:] else f"{HERE}/**/*.md"

# Any UTF-8 files: text:GLOB. They are split into train, validation and test, and their checksums are recorded.
# Tokens are bytes; also "characters" and "bpe", with a vocabulary size, or the path of a tokenizer.json.
task = CausalLanguage(data=f"text:{FILES}", tokenizer="bpe", vocabulary=512, context=32, evaluation_windows=0)

experiment = Experiment(
    name="own_text",
    question="Which activation reads my text best?",
    task=task,
    model=Transformer(vocab_size=512, context=32, d_model=32, n_layers=1, n_heads=2, initialization="lecun"),
    activations=("gelu", "relu2", "swiglu"),
    baseline="gelu",
    metric="bits_per_byte",  # comparable whatever the tokens are
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=200, batch_size=8),
    learning_rates=(1e-2,),  # leave it out and every arm is tuned, which takes three times as long
)

if __name__ == "__main__":
    results = run(experiment)
    print(compare(results.directory))
    print(f"report: {results.directory}/report.html")
