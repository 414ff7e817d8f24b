"""A study of one's own: a question that takes two experiments, and a reading of both.

Run:  python examples/own_study.py
"""

from dataclasses import dataclass, replace

import ablations
from ablations import CausalLanguage, Experiment, Findings, Hyperparameters, Section, Settings, Transformer, Verdict

small = Experiment(
    name="one_layer",
    question="Is relu as good as gelu?",
    task=CausalLanguage(data="stdlib", context=32, evaluation_windows=64),
    model=Transformer(context=32, d_model=32, n_layers=1, n_heads=2, initialization="lecun"),
    activations=("gelu", "relu"),
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=200, batch_size=8),
    hyperparameters=Hyperparameters(learning_rate=1e-2),
)
large = replace(small, name="two_layers", model=small.model.clone(n_layers=2))


@dataclass(frozen=True)
class Depth:
    """Every experiment has a folder of its own; the page index.html has the verdicts first, and every report."""

    name: str = "own_study"
    question: str = "Does what ReLU costs depend on the depth?"

    def experiments(self, budget):
        """What is trained: at the budgets "short" and "full" this study may cost more than at "smoke"."""
        return (small, large) if budget == "smoke" else tuple(replace(one, seeds=range(8)) for one in (small, large))

    def findings(self, results, measured):
        """The reading: a verdict an experiment."""
        arms = {name: ablations.compare(found.directory).arms[0] for name, found in results.items()}
        verdicts = tuple(
            Verdict(f"{name}: relu is worse than gelu", arm.verdict, f"{arm.difference:+.4f} nats, n = {arm.n}")
            for name, arm in arms.items()
        )
        return Findings(verdicts, {"depth": Section("Relu against gelu at each depth", verdicts=verdicts)})


study = Depth()

if __name__ == "__main__":
    page = ablations.study(study, budget="smoke")
    for name in ("one_layer", "two_layers"):
        print(f"{name}: {ablations.compare(page.parent / name)}")
    print(f"page: {page}")
