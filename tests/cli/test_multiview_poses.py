"""`multiview poses` chooses poses out of motions, and says what is wrong with its sources."""

import json

import numpy as np
import pytest

from hmralign.cli.main import main


@pytest.fixture
def motion(tmp_path):
    """Two clips of AMASS' layout whose bodies move evenly."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        poses = np.cumsum(rng.normal(0, 0.05, (90, 156)), axis=0)
        np.savez(tmp_path / f"{name}.npz", poses=poses, trans=np.zeros((90, 3)), mocap_framerate=30.0,
                 betas=np.zeros(10), gender="neutral")  # fmt: skip
    return tmp_path


def test_it_writes_the_set_and_says_how_diverse_it_is(motion, capsys):
    out = motion / "set"
    words = ["multiview", "poses", str(motion / "a.npz"), str(motion / "b.npz"), "--out", str(out)]
    assert main([*words, "--centres", "5", "--neighbours", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["centres"] == 5 and 5 < report["poses"] <= 15 and report["clips"] == 2
    assert report["cover_mm"]["centres"]["largest"] <= report["cover_mm"]["as many at random"]["largest"]
    with np.load(out / "poses.npz", allow_pickle=False) as file:
        assert file["poses"].shape == (report["poses"], 24, 3) and int(file["is_centre"].sum()) == 5
    assert main([*words, "--centres", "5", "--neighbours", "2"]) == 0
    assert "The poses are in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no motion was given"),
        (["none.npz"], "none.npz"),
        (["a.npz", "--centres", "0"], "at least one pose"),
    ],
)
def test_wrong_words_are_one_sentence(motion, capsys, words, said):
    paths = [str(motion / word) if word.endswith(".npz") else word for word in words]
    assert main(["multiview", "poses", *paths, "--out", str(motion / "set")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
