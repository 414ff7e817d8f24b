"""All studies: every budget can be trained, and the smallest ends in a page with all that was found."""

import pytest
from markup import words_of

import ablations
from lab.experiment import library
from lab.experiment.study import Paper, check
from lab.results import excerpts, results

STUDIES = [study for study in map(library.study, library.studies()) if not isinstance(study, Paper)]

every_study = pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)


@every_study
@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_every_budget_can_be_trained(study, budget):
    check(study, budget)


@every_study
@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_no_study_is_tuned_without_saying_so(study, budget, monkeypatch):
    monkeypatch.setattr("lab.experiment.experiment.FACTORS", (0.5, 1.0))
    assert [one.name for one in study.experiments(budget) if one.tuning_rates != one.tuning.learning_rates] == []


@every_study
@pytest.mark.slow
def test_a_smoke_run_ends_in_a_page(study, tmp_path):
    page = ablations.study(study, "smoke", tmp_path, quiet=True)
    trained = {one.name: results.read(tmp_path / one.name) for one in study.experiments("smoke")}
    measured = {name: excerpt.rows for name, excerpt in excerpts.read(tmp_path / "measured").items()}
    findings, words = study.findings(trained, measured), words_of(page)
    claims = [one.claim for part in (findings, *findings.sections.values()) for one in part.verdicts]
    assert claims
    for said in (study.question, *claims, *(section.title for section in findings.sections.values())):
        assert said in words
    for name, section in findings.sections.items():
        assert (tmp_path / f"{name}.svg").exists() == (section.figure is not None)
        assert (tmp_path / f"{name}.csv").exists() == (section.table is not None)
