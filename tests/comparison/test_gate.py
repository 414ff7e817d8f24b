"""A gate passes what was asked for beforehand and found, fails what is refuted, and is open about the rest."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bigram import Bigram

import ablations
from lab.comparison.comparison import compare
from lab.results import analysis_plan, results
from lab.results.analysis_plan import AnalysisPlan, Rule
from lab.results.looks import read

OLD = Path(__file__).parents[1] / "results_0_1_0"  # swiglu -.023, silu +.021 to gelu, with 8 seeds


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(OLD, tmp_path / "results")


def planned(tmp_path, *rules, **fields):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**fields, "rules": list(rules)}))
    return path


def decided(folder, tmp_path, capsys, *rules, **fields):
    """Exit code and JSON of the command."""
    plan = planned(tmp_path, *rules, **fields)
    code = ablations.main(["gate", str(folder), "--plan", str(plan)])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else said.err


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"arm": "silu", "verdict": "worse", "by": 0.005, "p": 0.01, "pairs": 8}, 0),
        ({"arm": "silu", "verdict": "worse", "by": 0.005, "p": 0.01, "pairs": 9}, 3),  # too few pairs
        ({"arm": "silu", "verdict": "worse", "by": 0.021}, 3),  # as large as was found: who knows
        ({"arm": "silu", "verdict": "better"}, 1),
        ({"arm": "silu", "verdict": "not worse", "by": 0.001}, 1),
        ({"arm": "silu", "verdict": "not worse", "by": 0.1}, 0),
        ({"arm": "silu", "verdict": "equivalent", "by": 0.1}, 0),
        ({"arm": "silu", "verdict": "equivalent", "by": 0.001}, 1),
        ({"arm": "swiglu", "verdict": "worse", "by": 0.1}, 1),
    ],
)
def test_a_rule_passes_fails_or_stays_open(folder, tmp_path, capsys, rule, code):
    found, decision = decided(folder, tmp_path, capsys, rule)
    assert found == code
    (outcome,) = decision["outcomes"]
    assert outcome["rule"]["verdict"] == rule["verdict"]
    assert outcome["n"] == 8
    assert decision["answer"] == {0: "pass", 1: "fail", 3: "inconclusive"}[code]


def test_all_rules_must_hold_and_one_that_is_refuted_fails(folder, tmp_path, capsys):
    holds = {"arm": "silu", "verdict": "worse"}
    undecided = {"arm": "silu", "verdict": "worse", "pairs": 9}
    refuted = {"arm": "silu", "verdict": "better"}
    assert [decided(folder, tmp_path, capsys, *rules)[0] for rules in ([holds, undecided], [undecided, refuted])] == [
        3,
        1,
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metric": "perplexity"}, "perplexity"),
        ({"n": 5}, "n 5"),
        ({"step": 400}, "400"),
        ({"margin": 0.1}, "margin 0.1"),
        ({"arms": ["gelu", "mish"]}, "mish"),
        ({"bseline": "gelu"}, "did you mean 'baseline'"),
    ],
)
def test_what_was_not_asked_for_beforehand_is_refused(folder, tmp_path, capsys, fields, said):
    code, message = decided(folder, tmp_path, capsys, {"arm": "silu", "verdict": "worse"}, **fields)
    assert code == 2
    assert said in message


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"arm": "sliu", "verdict": "worse"}, "did you mean 'silu'"),
        ({"arm": "silu", "verdict": "bad"}, "bad"),
        ({"arm": "silu", "verdict": "worse", "p": 5}, "p of a rule is 5"),
        ({"arm": "silu", "verdict": "not worse"}, "margin"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(folder, tmp_path, capsys, rule, said):
    code, message = decided(folder, tmp_path, capsys, rule)
    assert code == 2
    assert said in message


def test_an_absent_arm_leaves_the_gate_undecided(folder, tmp_path, capsys):
    (cell,) = folder.glob("cells/silu-*")
    shutil.rmtree(cell)
    code, decision = decided(folder, tmp_path, capsys, {"arm": "silu", "verdict": "worse"})
    assert code == 3
    assert any("silu" in sentence for sentence in decision["missing"])


def test_a_plan_is_needed_with_rules(folder, tmp_path, capsys):
    assert ablations.main(["gate", str(folder)]) == 2
    assert "--plan" in capsys.readouterr().err
    assert decided(folder, tmp_path, capsys)[0] == 2


def test_a_gate_is_a_look(folder, tmp_path, capsys):
    decided(folder, tmp_path, capsys, {"arm": "silu", "verdict": "worse"})
    assert len(read(folder)) == 1


def test_of_two_folders_no_arm_may_be_worse_by_the_margin(folder, tmp_path, capsys):
    record = folder / "experiment.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "margin": 0.01}))
    other = shutil.copytree(folder, tmp_path / "other")
    assert ablations.main(["gate", str(folder), str(other)]) == 0
    assert {one["rule"]["arm"] for one in json.loads(capsys.readouterr().out)["outcomes"]} == {"gelu", "silu", "swiglu"}
    import pandas as pd

    (metrics,) = other.glob("cells/silu-*/runs-*/metrics.parquet")
    frame = pd.read_parquet(metrics)
    frame.loc[frame["metric"] == "loss", "value"] += 0.05 + 0.001 * frame["seed"]
    frame.to_parquet(metrics)
    assert ablations.main(["gate", str(folder), str(other)]) == 1
    assert ablations.main(["gate", str(other), str(folder)]) == 0


def test_a_plan_is_hashed_into_the_results_and_another_is_refused(experiment, tmp_path, capsys):
    rule = {"arm": "relu", "verdict": "worse", "pairs": 3}
    plan = planned(tmp_path, rule, question="Is relu worse?", metric="loss", n=3)
    asked = replace(experiment, model=Bigram(), activations=("gelu", "relu"))
    out = tmp_path / "out"
    ablations.run(asked, out, plan=plan, quiet=True)
    recorded = results.read(out).experiment["plan"]
    assert recorded["file_sha256"] == analysis_plan.read(plan).digest
    assert recorded["fields"]["question"] == "Is relu worse?"
    assert ablations.gate(out, plan=plan).plan == "recorded before the runs"
    words = (out / "report.html").read_text()
    assert "plan.json" in words
    assert "written before the runs" in words
    planned(tmp_path, {**rule, "p": 0.9})
    with pytest.raises(ValueError, match=r"plan\.json.*before the runs"):
        ablations.gate(out, plan=plan)
    with pytest.raises(ValueError, match=r"plan\.json"):
        ablations.run(asked, out, plan=plan, quiet=True)
    planned(tmp_path, rule, n=4)
    with pytest.raises(ValueError, match=r"n 4.*3"):
        ablations.run(asked, tmp_path / "fresh", plan=plan, quiet=True)


@pytest.mark.slow
def test_what_has_changed_since_the_plan_is_told(experiment, tmp_path):
    asked = replace(experiment, model=Bigram(), activations=("gelu", "relu"))
    out = tmp_path / "out"
    ablations.run(asked, out, quiet=True)
    own = (out / "report.html").read_bytes()
    ablations.run(replace(asked, split="test"), out, quiet=True)
    assert (out / "report.html").read_bytes() == own  # another comparison never overwrites the report
    (beside,) = out.glob("comparisons/*/report.html")
    assert "test-loss" in beside.parent.name
    assert "split validation → test" in beside.read_text()
    assert ablations.compare(out).split == "validation"
    found = ablations.run(replace(asked, seeds=(0, 1, 2, 3)), out, quiet=True)
    assert "n 3 → 4" in (out / "report.html").read_text()
    assert compare(found).arms[0].looks == (3, 4)


def test_a_plan_in_toml_is_the_same_plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('metric = "loss"\n[[rules]]\narm = "relu"\nverdict = "worse"\np = 0.01\n')
    assert analysis_plan.read(path) == AnalysisPlan(metric="loss", rules=(Rule("relu", "worse", p=0.01),))
    path.write_text("metric = ")
    with pytest.raises(ValueError, match=r"plan\.toml"):
        analysis_plan.read(path)
