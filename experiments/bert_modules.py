"""Text classification: which activation should a small BERT use that tells Python's modules apart?

Command:  ablations run bert_modules --init-from results/bert_masked   (without --init-from: from scratch)
Cost:     about 13 minutes on 2 CPU cores, 1,313 s of processor time
Expected: starting from the networks of `bert_masked`, swiglu and geglu are better than gelu by 0.05 nats, relu worse
          by 0.02 to 0.03; accuracies on validation of 0.36 to 0.40, where naive Bayes, which counts bytes, has 0.373

64 bytes of source are told their module, one of the ten largest of the standard library, by the network of
`bert_masked`. Bytes have no [CLS], so the class is told from the mean of all of them.
"""

from experiments.bert_masked import TASK as MASKED
from experiments.bert_masked import experiment as masked
from lab.experiment.experiment import Experiment
from lab.tasks.classification import TextClassification
from lab.training.settings import Hyperparameters, Settings
from models.classifier import classifier

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
