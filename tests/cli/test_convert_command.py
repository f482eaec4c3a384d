"""`hmralign convert`: what comes out, what is said, and that wrong files end in one sentence."""

import json

import numpy as np
import pytest
from safetensors import safe_open

from hmralign.body.free_body import load_free_body
from hmralign.body.npz_file import read_npz
from hmralign.cli.main import main
from hmralign.models.checkpoint import checkpoint_kind, checkpoint_skeleton
from support.body_files import stand_in, write_npz
from support.published_pools import group_records, pair_records, write_groups, write_pairs
from support.published_snapshots import tiny_layout, write_snapshot


@pytest.fixture
def tiny(monkeypatch):
    """The published layouts at a tiny size: one of theirs has 100 million numbers."""
    monkeypatch.setattr("hmralign.models.published.conversion.published_layout", tiny_layout)


def run(capsys, *arguments, code=0):
    assert main(["convert", *map(str, arguments)]) == code
    return capsys.readouterr()


def refused(capsys, *arguments):
    out, err = run(capsys, *arguments, code=2)
    assert out == "" and err.startswith("hmralign: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.mark.parametrize("kind", ["hyponet", "scorenet", "hmr-scorer"])
def test_a_snapshot_becomes_a_checkpoint_with_a_report(tmp_path, capsys, tiny, kind):
    write_snapshot(tmp_path / "a.pth", kind)
    out = tmp_path / "new/a.safetensors"
    said = run(capsys, kind, tmp_path / "a.pth", "--out", out)
    assert "bound to the free body" in said.err
    assert "tensors used and renamed, as " in said.out and "not used, optimiser: " in said.out
    assert said.out.splitlines()[-1].startswith(f"{kind}, {'raw' if kind == 'hmr-scorer' else 'ema'} weights: {out}")
    assert checkpoint_kind(out) == kind and checkpoint_skeleton(out) == load_free_body("3k5").skeleton_hash
    report = json.loads(out.with_suffix(".json").read_text())
    with safe_open(out, framework="pt") as file:
        assert set(file.keys()) == set(report["renamed"].values())
    assert json.loads(run(capsys, kind, tmp_path / "a.pth", "--out", out, "--json").out) == report
    assert run(capsys, kind, tmp_path / "a.pth", "--out", out, "--quiet") == ("", "")


def test_a_checkpoint_is_bound_to_the_body_that_is_given(tmp_path, capsys, tiny):
    write_snapshot(tmp_path / "a.pth", "hyponet")
    body, out = write_npz(tmp_path, stand_in()), tmp_path / "a.safetensors"
    said = run(capsys, "hyponet", tmp_path / "a.pth", "--out", out, "--weights", "raw", "--body", body)
    assert said.err == "" and checkpoint_skeleton(out) != load_free_body("3k5").skeleton_hash


def test_wrong_snapshots_end_in_one_sentence(tmp_path, capsys, tiny):
    out = tmp_path / "a.safetensors"
    (tmp_path / "folder").mkdir()
    assert "no such file" in refused(capsys, "hyponet", tmp_path / "nowhere.pth", "--out", out)
    assert "is a folder" in refused(capsys, "hyponet", tmp_path / "folder", "--out", out)
    write_snapshot(tmp_path / "a.pth", "scorenet")
    assert "convert scorenet" in refused(capsys, "hyponet", tmp_path / "a.pth", "--out", out)
    assert "ends in .safetensors" in refused(capsys, "scorenet", tmp_path / "a.pth", "--out", tmp_path / "a.pth")
    assert not out.exists()


def test_published_sizes_are_asked_for_without_anything_else_said(tmp_path, capsys):
    write_snapshot(tmp_path / "a.pth", "hyponet")
    said = refused(capsys, "hyponet", tmp_path / "a.pth", "--out", tmp_path / "a.safetensors")
    assert "'linear_start_j.weight' (float32 of shape (928, 87), expected float32 of shape (7424, 87))" in said


def test_poses_become_twists(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", poses=np.full((3, 156), 0.1), betas=np.ones(16), trans=np.zeros((3, 3)))
    said = run(capsys, "twist", tmp_path / "a.npz", "--out", tmp_path / "b.npz").out
    assert (
        "betas not used" in said and "left_hand, right_hand: not in the file" in said and "3 poses as 23 twists" in said
    )
    assert read_npz(tmp_path / "b.npz")["twist_cos_sin"].shape == (3, 23, 2)
    body = write_npz(tmp_path, stand_in())
    words = ("twist", tmp_path / "a.npz", "--out", tmp_path / "b.npz", "--body", body, "--json")
    answer = json.loads(run(capsys, *words).out)
    assert answer["shaped"] and answer["poses"] == 3 and answer["largest_error_deg"] < 1e-4 and not answer["hands"]
    np.savez(tmp_path / "a.npz", poses=np.zeros((3, 69)))
    assert "69 numbers a frame" in refused(capsys, "twist", tmp_path / "a.npz", "--out", tmp_path / "c.npz")
    assert "ends in .npz" in refused(capsys, "twist", tmp_path / "a.npz", "--out", tmp_path / "c.npy")
    assert not (tmp_path / "c.npz").exists()


def test_pools_are_converted_there_and_back(tmp_path, capsys):
    write_pairs(tmp_path / "theirs.json", pair_records(3))
    said = run(capsys, "pairs", tmp_path / "theirs.json", "--out", tmp_path / "ours.npz").out
    assert said.startswith("3 pairs of 2, measured by nothing: ")
    assert run(capsys, "pairs", tmp_path / "ours.npz", "--out", tmp_path / "back.json").out.startswith("3 pairs")
    assert json.loads((tmp_path / "back.json").read_text()) == json.loads((tmp_path / "theirs.json").read_text())
    write_groups(tmp_path / "theirs.npz", group_records(2, members=5))
    answer = json.loads(run(capsys, "pairs", tmp_path / "theirs.npz", "--out", tmp_path / "g.npz", "--json").out)
    assert answer["kind"] == "groups" and answer["members"] == 5 and "score" in answer["measures"]
    assert "render_smpl_dir_list" in answer["not_carried"]
    assert "groups of 5" in run(capsys, "pairs", tmp_path / "g.npz", "--out", tmp_path / "back.npz").out
    assert run(capsys, "pairs", tmp_path / "back.npz", "--out", tmp_path / "again.npz", "--quiet") == ("", "")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "g.npz").read_bytes()


def test_wrong_pools_end_in_one_sentence(tmp_path, capsys):
    out = tmp_path / "ours.npz"
    (tmp_path / "folder.json").mkdir()
    assert "is a folder" in refused(capsys, "pairs", tmp_path / "folder.json", "--out", out)
    assert "no such file" in refused(capsys, "pairs", tmp_path / "nowhere.json", "--out", out)
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    assert "is no pool of pairs or groups" in refused(capsys, "pairs", tmp_path / "other.npz", "--out", out)
    write_pairs(tmp_path / "theirs.json", pair_records(1))
    assert "ends in .npz" in refused(capsys, "pairs", tmp_path / "theirs.json", "--out", tmp_path / "a.json")
    run(capsys, "pairs", tmp_path / "theirs.json", "--out", out)
    assert "ends in .json" in refused(capsys, "pairs", out, "--out", tmp_path / "a.npz")


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_word_alone_lists_what_it_converts(capsys, arguments):
    said = run(capsys, *arguments).out
    assert all(f"convert {name}" in said for name in ("hyponet", "scorenet", "hmr-scorer", "twist", "pairs"))
