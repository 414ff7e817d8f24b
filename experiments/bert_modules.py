"""Text classification: which activation should a small BERT use that tells Python's modules apart?

Command:  ablations run bert_modules --begin-with results/bert_masked   (without --begin-with: from scratch)
Cost:     about 5 minutes on 2 CPU cores, computed
Expected: an accuracy of 0.33 on validation, of relu, gelu and gelu_tanh alike (measured, five seeds each, begun with
          the networks of `bert_masked`); naive Bayes, which counts bytes, has 0.37 and is not beaten in so few steps

64 bytes of source are told their module, one of the ten largest of the standard library, by the network of
`bert_masked`. Bytes have no [CLS], so the class is told from the mean of all of them.
"""

from experiments.bert_masked import TASK as MASKED
from experiments.bert_masked import experiment as masked
from experiments.experiment import Experiment
from models.classifier import classifier
from tasks.classification import TextClassification
from training.settings import Hyperparameters, Settings

TASK = TextClassification(data="stdlib", classes=10, context=MASKED.context, evaluation_texts=512)

experiment = Experiment(
    name="bert_modules",
    question="Which activation should a small BERT use that tells Python's modules apart?",
    task=TASK,
    model=classifier(masked.model, TASK.classes, pooling="mean"),
    activations=("relu", "gelu", "gelu_tanh", "swiglu", "geglu"),
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=1600, batch_size=16),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
