"""`recover` and `groups` with `--runtime bfloat16`: about the same bodies, and results that say so."""

import json

import numpy as np
import pytest
import yaml

from hmralign.cli.main import main
from hmralign.models import bfloat16
from support.group_stores import shard_folder


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """A processor that is faster in bfloat16, whatever this one is."""
    monkeypatch.setattr(bfloat16, "bfloat16_gain", lambda: 2.0)


def test_a_recovered_photo_says_so(example, tmp_path, capsys):
    for runtime in ("torch", "bfloat16"):
        assert example.recover(out=tmp_path / runtime, checkpoint="lite", pictures=None, seed=5, runtime=runtime) == 0
    made_by = yaml.safe_load((tmp_path / "bfloat16/run.yaml").read_text())["made_by"]
    assert made_by["runtime"] == "bfloat16"
    one, other = (
        np.load(tmp_path / runtime / "photo/person_0/hypotheses.npz")["fused_joints"]
        for runtime in ("torch", "bfloat16")
    )
    assert 0 < np.abs(one - other).max() < 0.05
    capsys.readouterr()
    assert example.recover(out=tmp_path / "torch", checkpoint="lite", seed=5, runtime="bfloat16") == 2
    assert "other settings" in capsys.readouterr().err


def test_a_store_of_groups_says_so_and_is_not_continued_by_another_runtime(checkpoint, tmp_path, capsys):
    shards = shard_folder(tmp_path / "shards", 3)
    command = ["groups", str(shards), "--checkpoint", str(checkpoint), "--group-size", "4", "--num-steps", "2"]
    for out, runtime in (("plain", "torch"), ("half", "bfloat16")):
        assert main([*command, "--out", str(tmp_path / out), "--runtime", runtime]) == 0
    facts = [json.loads((tmp_path / out / "store.json").read_text()) for out in ("plain", "half")]
    assert facts[0]["options"] == {} and facts[1]["options"] == {"runtime": "bfloat16"}
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "plain"), "--runtime", "bfloat16"]) == 2
    assert capsys.readouterr().err.startswith("hmralign: ")
