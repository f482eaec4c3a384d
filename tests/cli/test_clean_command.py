"""`hmralign clean` from arguments to lists, summary, sheet and a cleaned data set; wrong input in one sentence."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from hmralign.cli.clean import CleanOptions
from hmralign.cli.main import main
from hmralign.data.prediction_file import read_predictions
from hmralign.data.shards import open_shards
from support.group_stores import files_of, shard_folder
from support.prediction_files import PERSONS, write

N = 6


@pytest.fixture
def shards(tmp_path):
    return shard_folder(tmp_path / "shards", N)


def clean(source, out, *more, critic="reprojection"):
    judge = () if "--critic" in more else ("--critic", critic)
    return main(["clean", str(source), "--out", str(out), *judge, *more])


def refused(capsys, code, *words):
    """One sentence on stderr, nothing on stdout, exit code 2."""
    out, err = capsys.readouterr()
    assert code == 2 and out == "", (code, out, err)
    assert err.startswith("hmralign: ") and err.count("\n") == 1 and "Traceback" not in err, err
    for word in words:
        assert word in err, (word, err)


def test_shards_become_a_cleaned_data_set(shards, tmp_path, capsys):
    before, out = files_of(shards), tmp_path / "out"
    assert clean(shards, out, "--keep-share", "0.5", "--write", "--sheet-items", "2", "--chunk-size", "4") == 0
    said, err = capsys.readouterr()
    assert said.startswith("3 of 6 labels of shards:train kept, 3 dropped (threshold -0.") and err == ""
    assert said.endswith(f"by reprojection); the kept ones are {out / 'cleaned'}: see {out}\n")
    assert files_of(shards) == before and len(open_shards(out / "cleaned")) == 3
    assert Image.open(out / "sheet.png").width > 3 * 224
    run = yaml.safe_load((out / "run.yaml").read_text())
    assert run["command"] == "clean" and run["options"]["keep_share"] == 0.5
    assert run["made_by"]["critic"]["critic"] == "reprojection" and run["made_by"]["versions"]["torch"]


def test_the_run_file_repeats_the_run(shards, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    assert clean(shards, first, "--keep-share", "0.5", "--sheet-items", "0", "--quiet") == 0
    assert main(["clean", "--config", str(first / "run.yaml"), "--out", str(again)]) == 0
    for name in ("cleaned.jsonl", "dropped.jsonl", "summary.json", "plan.json"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


def test_json_is_the_summary(shards, tmp_path, capsys):
    arguments = ("--threshold", "-1", "--sheet-items", "0")
    assert clean(shards, tmp_path / "out", *arguments, "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document.pop("out") == str(tmp_path / "out") and "nothing was dropped" in err
    assert document == json.loads((tmp_path / "out/summary.json").read_text())
    assert document["counts"]["kept"] == N


def test_a_prediction_file(tmp_path, capsys):
    source = write(tmp_path / "theirs.npz", detector=np.array("mediapipe"))  # whose offsets make no two scores equal
    arguments = ("--keep-share", "0.6", "--hypothesis", "best", "--write", "--sheet-items", "0")
    assert clean(source, tmp_path / "out", *arguments) == 0
    cleaned = read_predictions(tmp_path / "out/cleaned.npz")
    assert len(cleaned) == 3 and cleaned.num_hypotheses == 1 and PERSONS == 5
    assert "labels of predictions:theirs kept" in capsys.readouterr().out


def test_what_makes_a_choice_worthless_is_said(shards, tmp_path, capsys):
    assert clean(shards, tmp_path / "a", "--threshold", "0.5", "--sheet-items", "0") == 0
    assert "warning: nothing reached the threshold 0.5" in capsys.readouterr().err
    assert clean(shards, tmp_path / "b", "--threshold", "0.5", "--sheet-items", "0", critic="silhouette") == 0
    assert f"silhouette has no evidence on {N} labels, which are dropped" in capsys.readouterr().err
    assert clean(shards, tmp_path / "c", "--threshold", "0.5", "--sheet-items", "0", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_the_scorer_holds_labels_against_samples_by_default(tmp_path, capsys):
    shards = shard_folder(tmp_path / "few", N)
    assert main(["clean", str(shards), "--out", str(tmp_path / "out"), "--sheet-items", "0"]) == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["rule"]["margin"] == 0.03 and summary["threshold"] == -0.03
    assert len(summary["critic"]["weights_sha256"]) == len(summary["reference"]["sha256"]) == 64
    edges = summary["scores"]["histogram"]["edges"]
    assert (edges[0], edges[-1]) == (0.0, 1.0)
    said = capsys.readouterr().out
    assert "by scorer" in said and "of true labels the same threshold drops 1 % of lab/val and 6 % of wild/val" in said
    outliers = main(["clean", str(shards), "--out", str(tmp_path / "b"), "--sheet-items", "0", "--outliers", "2.5"])
    refused(capsys, outliers, "6 judged labels")
    assert main(["clean", str(shards), "--out", str(tmp_path / "c"), "--threshold", "0.9", "--sheet-items", "0"]) == 0
    assert "nothing reached the threshold 0.9" in capsys.readouterr().err


def test_the_scorer_is_the_default():
    assert CleanOptions().critic == "scorer" and CleanOptions().threshold is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--threshold", "0.5", "--keep-share", "0.5"), ("--threshold and --keep-share", "one of them")),
        (("--threshold", "0.5", "--outliers", "2"), ("--threshold and --outliers", "one of them")),
        ((), ("'reprojection'", "give a threshold or a share")),
        (("--keep-share", "1.5"), ("1.5", "at most 1")),
        (("--critic", "taste"), ("no critic 'taste'",)),
        (("--critic", "oracle", "--keep-share", "0.5"), ("'oracle' needs truth",)),
        (("--hypothesis", "best", "--keep-share", "0.5"), ("--hypothesis is for prediction files",)),
        (("--chunk-size", "0", "--keep-share", "0.5"), ("at least 1",)),
        (("--detector", "none.npz", "--keep-share", "0.5"), ("none.npz",)),
    ],
)
def test_wrong_options(shards, tmp_path, capsys, more, words):
    refused(capsys, clean(shards, tmp_path / "out", *more), *words)
    assert not (tmp_path / "out").exists()


def test_wrong_sources(tmp_path, capsys):
    refused(capsys, main(["clean", "--out", str(tmp_path / "out")]), "no source")
    refused(capsys, main(["clean", str(tmp_path)]), "--out is missing")
    share = ("--keep-share", "0.5")
    refused(capsys, clean(tmp_path / "nowhere", tmp_path / "out", *share), "nowhere", "neither a folder")
    refused(capsys, clean(tmp_path, tmp_path / "out", *share), "no index.json")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    refused(capsys, clean(tmp_path / "bad.npz", tmp_path / "out", *share), "bad.npz")
    detector = ("--detector", "mediapipe")
    refused(capsys, clean(tmp_path / "bad.npz", tmp_path / "out", *share, *detector), "--detector is for shards")
    assert not (tmp_path / "out").exists()


def test_other_settings_in_the_same_folder(shards, tmp_path, capsys):
    assert clean(shards, tmp_path / "out", "--keep-share", "0.5", "--sheet-items", "0", "--quiet") == 0
    refused(capsys, clean(shards, tmp_path / "out", "--keep-share", "0.6"), "keep_share = 0.5, not 0.6")
    inside = shards / "cleaned"
    refused(capsys, clean(shards, inside, "--keep-share", "0.5"), "lies in the source")
    assert not inside.exists()
