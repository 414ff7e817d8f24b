"""A study of one's own: a question that takes two experiments, and a reading of both.

Run:  python examples/own_study.py
"""

from dataclasses import dataclass, replace

import ablations
from ablations import CausalLanguage, Experiment, Findings, Section, Settings, Transformer, Verdict

low = Experiment(
    name="low_rate",
    question="Is ReLU as good as GELU at a low learning rate?",
    task=CausalLanguage(data="stdlib", context=32, evaluation_windows=64),
    model=Transformer(context=32, d_model=32, n_layers=1, n_heads=2, initialization="lecun"),
    activations=("gelu", "relu"),
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=200, batch_size=8),
    learning_rates=(3e-3,),  # given, so not tuned
)
high = replace(
    low,
    name="high_rate",
    question="Is ReLU as good as GELU at a high learning rate?",
    learning_rates=(3e-2,),
)


@dataclass(frozen=True)
class Rates:
    """A study has a name, a question, experiments and findings; its page has the verdicts first, then every report."""

    name: str = "own_study"
    question: str = "Does the cost of ReLU depend on the learning rate?"

    def experiments(self, budget):
        """What is trained, each in a folder of its own: five seeds in a smoke run, else eight."""
        seeds = tuple(range(5 if budget == "smoke" else 8))
        return tuple(replace(one, seeds=seeds) for one in (low, high))

    def findings(self, results, measured):
        """The reading: a verdict for each experiment, of what was trained."""
        arms = {name: ablations.compare(found.directory).arms[0] for name, found in results.items()}
        verdicts = tuple(
            Verdict(f"{name}: ReLU against GELU", arm.verdict, f"{arm.difference:+.4f} nats, n = {arm.n}")
            for name, arm in arms.items()
        )
        return Findings(verdicts, {"rates": Section("ReLU against GELU at each rate", verdicts=verdicts)})


study = Rates()

if __name__ == "__main__":
    page = ablations.study(study, budget="smoke")
    for one in study.experiments("smoke"):
        print(f"{one.question}\n{ablations.compare(page.parent / one.name)}\n")
    print(f"page: {page}")
