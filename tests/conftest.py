"""What every test shares: several virtual devices, strict ranks, fast compiling, and nothing of the user's folders."""

import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if version("jaxlib").startswith("0.10."):  # the older emitters compile in half the time; from 0.11 on they are gone
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)  # compiles much faster; nothing is timed
jax.devices()  # from here on the number of devices is fixed

from lab.experiment.experiment import Experiment
from lab.tasks.language import CausalLanguage
from lab.training.runs import use_compilation_cache
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Programs that several tests have in common are compiled once a session, those of commands too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        use_compilation_cache()
        yield


@pytest.fixture(scope="module", autouse=True)
def no_programs_pile_up():
    """Compiled programs are dropped after each file: those of all would take 4 GB in a worker."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def untuned():
    """Experiments are compared at their own rate unless a test says which to try: tuning takes three times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.experiment.experiment.FACTORS", ())
        yield


@pytest.fixture(scope="session", autouse=True)
def own_data_directory(tmp_path_factory):
    """Prepared corpora go to one folder a test session, never to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.getbasetemp() / "tensorflow_datasets"))
        yield


@pytest.fixture
def corpus(tmp_path):
    """The name of a small corpus of one's own."""
    words = ["alpha", "beta", "gamma", "delta", "epsilon"]
    text = " ".join(words[(i * i + i // 7) % 5] for i in range(4000))
    (tmp_path / "corpus.txt").write_text(text)
    return f"text:{tmp_path}/corpus.txt"


@pytest.fixture
def experiment(corpus):
    """A complete experiment that trains in a second."""
    return Experiment(
        name="tiny",
        question="Which of two?",
        task=CausalLanguage(data=corpus, context=8, evaluation_windows=8),
        model=Transformer(context=8, d_model=8, n_layers=1, n_heads=2),
        activations=("gelu", "swiglu"),
        seeds=(0, 1, 2),
        settings=Settings(steps=6, batch_size=4, evaluate_every=2, checkpoint_every=1),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
    )
