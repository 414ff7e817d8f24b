"""Fashion-MNIST: which activation should the feed-forward layers of a small Vision Transformer use?

Command:  ablations run fashion_vit
Cost:     about 10 minutes on 2 CPU cores
Expected: an accuracy of about 0.86 with gelu on validation (one seed)
"""

from lab.experiment.experiment import Experiment
from lab.tasks.images import ImageClassification
from lab.training.settings import Hyperparameters, Settings
from models.vision import VisionTransformer

experiment = Experiment(
    name="fashion_vit",
    question="Which activation should the feed-forward layers of a small Vision Transformer use?",
    task=ImageClassification("fashion_mnist"),
    model=VisionTransformer(
        image_size=(28, 28),
        patch_size=(7, 7),
        channels=1,
        classes=10,
        d_model=64,
        n_layers=2,
        n_heads=4,
        initialization="lecun",  # with a standard deviation of 0.02 so narrow a network would be almost linear at first
    ),
    activations=("gelu", "relu", "elu", "silu", "swiglu"),
    seeds=(0, 1, 2, 3, 4),
    metric="accuracy",
    settings=Settings(steps=860, batch_size=64, evaluate_every=215),  # one epoch of 55,000 images
    hyperparameters=Hyperparameters(learning_rate=1e-3),
)
