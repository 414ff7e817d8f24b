"""Text classification: which activation should a small BERT use that tells Python's modules apart?

Command:  ablations run bert_modules
Cost:     about 5 minutes on 2 CPU cores
Expected: an accuracy of 0.3 on validation with gelu at step 200; naive Bayes, counting bytes, has 0.37

64 bytes of source are told their module, one of the ten largest of the standard library, by the network of
`bert_masked`; it is trained from scratch. Bytes have no [CLS], so the class is told from the mean of all of them.
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
    settings=Settings(steps=400, batch_size=16),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
