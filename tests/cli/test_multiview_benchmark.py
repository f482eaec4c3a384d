"""`multiview benchmark` writes persons whose truth is known, and says what is wrong with its words."""

import json

import pytest

from hmralign.cli.main import main
from hmralign.systems.multiview_data.benchmark import read_manifest

SMALL = ("--items", "2", "--size", "16")


def test_it_writes_persons_and_their_truth(tmp_path, capsys):
    words = ["multiview", "benchmark", "--out", str(tmp_path / "b"), *SMALL, "--hard-share", "0.5"]
    assert main([*words, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert read_manifest(tmp_path / "b") == manifest and [i["hard"] for i in manifest["items"]] == [True, False]
    assert main(words) == 0
    assert "2 persons in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.npz"], "none.npz"),
        (["a.npz", "--scans", "s"], "takes the place of motions"),
        (["--scans", "s"], "no folder of thuman21"),
        (["--items", "0"], "0 items"),
        (["--size", "1"], "at least 2 pixels"),
        (["--body", "none.npz"], "none.npz"),
    ],
)
def test_wrong_words_are_one_sentence(tmp_path, capsys, words, said):
    assert main(["multiview", "benchmark", *words, "--out", str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "b").exists()
