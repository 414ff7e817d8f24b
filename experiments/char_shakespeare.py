"""Character-level Shakespeare: the small setting of nanoGPT for a CPU, over eight seeds.

Command:  ablations run char_shakespeare
Cost:     about 12 minutes on 2 CPU cores
Expected: a validation loss near 1.88 nats per character after 2,000 steps, which nanoGPT reports for one run

The training text is nanoGPT's, the first 90 % of the plays; its validation text, the other 10 %, is split into halves
for validation and test. Both are evaluated completely.
"""

from lab.experiment.experiment import Experiment
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

VOCABULARY = 67  # the 65 characters of the text, and the two tokens of every character vocabulary

experiment = Experiment(
    name="char_shakespeare",
    question="Does the published loss of a small character-level model come out, and how far do seeds lie apart?",
    task=CausalLanguage(
        data="tiny_shakespeare", tokenizer="characters", vocabulary=VOCABULARY, context=64, evaluation_windows=0
    ),
    model=Transformer(vocab_size=VOCABULARY, context=64, d_model=128, n_layers=4, n_heads=4, bias=False),
    activations=("gelu",),
    published=(("nanoGPT, 1 run, 2,000 steps", 1.88),),
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
    settings=Settings(steps=2000, batch_size=12, warmup_steps=100),
    learning_rates=(1e-3,),  # nanoGPT's
    hyperparameters=Hyperparameters(b2=0.99),
)
