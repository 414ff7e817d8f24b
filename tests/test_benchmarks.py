"""The benchmarks run and print their tables; nothing is timed here."""

import json

import pytest

from benchmarks import input as benchmark


@pytest.mark.slow
def test_the_benchmark_of_input_prints_its_tables_and_keeps_its_numbers(tmp_path, capsys):
    tiny = ["--experiments", "fashion_vit", "--runs", "1", "--repetitions", "2", "--seconds", "0", "--megabytes", "1"]
    benchmark.main([*tiny, "--json", str(tmp_path / "input.json")])
    printed = capsys.readouterr().out
    assert "| fashion_vit | 64 | 1 |" in printed
    assert "| 12 | 64 | 1 | 1 |" in printed
    kept = json.loads((tmp_path / "input.json").read_text())
    assert [len(kept["drawn"][0][name]) for name in ("fixed", "drawn")] == [2, 2]
    assert len(kept["streamed"]) == len(benchmark.STREAMS)
    assert "<svg" in (tmp_path / "input.svg").read_text()
