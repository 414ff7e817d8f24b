"""Text classification: which activation should a small BERT use to classify Python modules?

Command:  ablations run bert_modules --init-from results/bert_masked   (without --init-from: from scratch)
Cost:     about 13 minutes on 2 CPU cores, 1,313 s of processor time
Expected: initialized from the networks of `bert_masked`, swiglu and geglu are better than gelu by 0.05 nats, relu is
          worse by 0.02 to 0.03; validation accuracies of 0.36 to 0.40, compared with 0.373 for naive Bayes on bytes

The network of `bert_masked` predicts the module of 64 bytes of source code, among the ten largest modules of the
standard library. Bytes have no [CLS], so the class is predicted from the mean over all positions.
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
    question="Which activation should a small BERT use to classify Python modules?",
    task=TASK,
    model=classifier(masked.model, TASK.classes, pooling="mean"),
    activations=("relu", "gelu", "gelu_tanh", "swiglu", "geglu"),
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=1600, batch_size=16),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
