"""The example runs as it is shown, with every method that needs no body encoder."""

import runpy
from pathlib import Path

import pytest

from support.toy_policy import shard_folder

EXAMPLE = Path(__file__).parents[2] / "examples/foreign_denoiser.py"


@pytest.mark.parametrize("method", ["dpo", "kto", "group", "direct-reward"])
def test_a_foreign_denoiser_is_aligned(method, tmp_path, monkeypatch, capsys):
    words = ["--shards", shard_folder(tmp_path / "shards", 8), "--persons", 8, "--steps", 4, "--method", method]
    monkeypatch.setattr("sys.argv", [str(EXAMPLE), *map(str, words)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "weights changed: True" in capsys.readouterr().out


def test_the_wrapper_stays_about_as_short_as_it_says():
    text = EXAMPLE.read_text().splitlines()
    start = next(i for i, line in enumerate(text) if "the wrapper starts here" in line)
    end = next(i for i, line in enumerate(text) if "and ends here" in line)
    assert len([line for line in text[start + 1 : end] if line.strip()]) <= 45
