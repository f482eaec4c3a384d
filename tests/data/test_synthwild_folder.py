"""SynthWild on disk: written once, read back, refused when anything in it is not what was written."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

from hmralign.data.synthetic.synthwild import SPLITS, Split
from hmralign.data.synthwild_folder import (
    agreement_with,
    content_hash,
    fingerprint,
    open_split,
    split_tensors,
)
from hmralign.structures import InputError
from hmralign.systems.synth.write_synthwild import masked_chunk, write_benchmark

TINY = Split("wild", "train", 30, 991, 0.6)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SPLITS, "tiny/val", TINY)


@pytest.fixture
def folder(tmp_path):
    assert write_benchmark(tmp_path, ["tiny/val"]) == {"tiny/val": "not frozen"}
    return tmp_path


def test_what_is_read_is_what_was_drawn(folder):
    split = open_split(folder, "tiny/val")
    example, slices = masked_chunk(TINY, 0)
    assert len(split) == 30 and split.agreement == "not frozen"
    assert torch.equal(split.examples.observation.keypoints, example.observation.keypoints)
    torch.testing.assert_close(split.examples.observation.mask, example.observation.mask)
    assert torch.equal(split.slices.pitch, slices.pitch)
    assert split.sha256 == content_hash(split_tensors(example, slices))
    assert 0.3 < split.examples.observation.has_mask.float().mean() < 0.9


def test_writing_again_changes_nothing(folder):
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "tiny_val").iterdir()}
    write_benchmark(folder, ["tiny/val"])
    assert before == {p.name: p.stat().st_mtime_ns for p in (folder / "tiny_val").iterdir()}


def test_a_changed_array_is_noticed(folder):
    path = folder / "tiny_val" / "shard_00000.safetensors"
    tensors = load_file(path)
    tensors["joints"][3, 5, 0] += 1e-4
    save_file(tensors, path)
    with pytest.raises(InputError, match="not those it was written with"):
        open_split(folder, "tiny/val")


def test_missing_and_damaged_slices(folder):
    path = folder / "tiny_val" / "slices_00000.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="slices are missing or damaged"):
        open_split(folder, "tiny/val")
    path.unlink()
    with pytest.raises(InputError, match="slices are missing or damaged"):
        open_split(folder, "tiny/val")


def test_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="hmralign bench"):
        open_split(folder, "wild/val")
    index = folder / "tiny_val" / "index.json"
    facts = json.loads(index.read_text())
    index.write_text(json.dumps({**facts, "benchmark": "synthwild-v0"}))
    with pytest.raises(InputError, match="synthwild-v0"):
        open_split(folder, "tiny/val")


def test_rounding_is_told_from_another_benchmark():
    tensors = split_tensors(*masked_chunk(TINY, 0))
    frozen = {"tiny/val": {"sha256": content_hash(tensors), "fingerprint": fingerprint(tensors)}}
    assert agreement_with(frozen, "tiny/val", content_hash(tensors), tensors) == "identical"
    rounded = {**tensors, "joints": tensors["joints"] * (1 + 1e-7)}
    assert agreement_with(frozen, "tiny/val", content_hash(rounded), rounded) == "equal up to rounding"
    other = {**tensors, "joints": tensors["joints"] * 1.01}
    with pytest.raises(InputError, match="'joints' is not that of synthwild-v1"):
        agreement_with(frozen, "tiny/val", content_hash(other), other)


def test_a_split_that_is_not_the_frozen_one_is_not_left_looking_finished(tmp_path, monkeypatch):
    from hmralign.systems.synth import write_synthwild

    tensors = split_tensors(*masked_chunk(TINY, 0))
    moved = {name: [mean + 1, spread] for name, (mean, spread) in fingerprint(tensors).items()}
    monkeypatch.setattr(write_synthwild, "frozen_splits", lambda: {"tiny/val": {"sha256": "x", "fingerprint": moved}})
    with pytest.raises(InputError, match="another version of the generator"):
        write_benchmark(tmp_path, ["tiny/val"])
    assert not (tmp_path / "tiny_val" / "index.json").exists()


def test_a_killed_run_continues(tmp_path, monkeypatch):
    """Killed before its second chunk: the first is kept, the result is that of an undisturbed run."""
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from hmralign.data.synthetic import synthwild
        from hmralign.systems.synth import write_synthwild
        synthwild.CHUNK = 12
        synthwild.SPLITS["tiny/val"] = synthwild.Split("wild", "train", 30, 991, 0.6)
        drawn = write_synthwild.masked_chunk
        def masked_chunk(split, chunk, unseen=None):
            if chunk == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return drawn(split, chunk, unseen)
        write_synthwild.masked_chunk = masked_chunk
        write_synthwild.write_benchmark(Path(sys.argv[1]), ["tiny/val"])
    """)
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    first = tmp_path / "a" / "tiny_val" / "shard_00000.safetensors"
    stamp = first.stat().st_mtime_ns
    with pytest.raises(InputError, match="not a finished"):
        open_split(tmp_path / "a", "tiny/val")
    monkeypatch.setattr("hmralign.data.synthetic.synthwild.CHUNK", 12)
    for name in ("a", "b"):
        write_benchmark(tmp_path / name, ["tiny/val"])
    assert first.stat().st_mtime_ns == stamp
    a, b = (open_split(tmp_path / name, "tiny/val") for name in ("a", "b"))
    assert a.sha256 == b.sha256 and len(a) == 30


def test_real_poses_need_a_file(tmp_path):
    with pytest.raises(InputError, match="--poses"):
        write_benchmark(tmp_path, ["mocap/test"])
