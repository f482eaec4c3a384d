"""SynthWild on disk: written once, read back, refused when anything in it is not what was written, and repaired."""

import json
import logging
import os
import shlex
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hmralign.cli.main import main
from hmralign.data.synthetic import synthwild
from hmralign.data.synthetic.synthwild import SPLITS, Split
from hmralign.data.synthwild_folder import (
    agreement_with,
    content_hash,
    fingerprint,
    open_split,
)
from hmralign.structures import InputError
from hmralign.systems.synth.write_synthwild import masked_chunk, write_benchmark
from support import forked
from support.split_tensors import split_tensors

TINY = Split("wild", "train", 30, 991, 0.6)
REAL = Split("wild", "heldout", 20, 993, 0.6, real_poses=True)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SPLITS, "tiny/val", TINY)
    monkeypatch.setitem(SPLITS, "real/test", REAL)


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


def change_an_array(path):
    tensors = load_file(path / "shard_00001.safetensors")
    tensors["joints"][3, 5, 0] += 1e-4
    save_file(tensors, path / "shard_00001.safetensors")


def cut(name):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:50])


def unfinished(damage):
    """The damage in a folder whose index was not written yet."""

    def apply(path):
        damage(path)
        (path / "index.json").unlink()

    return apply


@pytest.fixture
def in_chunks(tmp_path, monkeypatch):
    """A finished split of three chunks, and its hash."""
    monkeypatch.setattr(synthwild, "CHUNK", 12)
    write_benchmark(tmp_path, ["tiny/val"])
    return tmp_path, open_split(tmp_path, "tiny/val").sha256


def follow(advice):
    """Run the command that an error message gives in backquotes."""
    command = shlex.split(advice.split("`")[1])
    assert command[:2] == ["hmralign", "bench"]
    return main([*command[1:], "--quiet"])


@pytest.mark.parametrize(
    "damage",
    [
        change_an_array,
        cut("shard_00002.safetensors"),
        cut("slices_00000.safetensors"),
        lambda path: (path / "slices_00001.safetensors").unlink(),
        lambda path: (path / "shard_00001.safetensors").unlink(),
        lambda path: (path / "shard_00009.safetensors").write_bytes((path / "shard_00002.safetensors").read_bytes()),
        unfinished(cut("shard_00002.safetensors")),
        unfinished(cut("slices_00000.safetensors")),
        unfinished(lambda path: (path / "shard_00001.safetensors").unlink()),
        unfinished(
            lambda path: (path / "shard_00001.safetensors").write_bytes((path / "shard_00002.safetensors").read_bytes())
        ),
        unfinished(lambda path: (path / "plan.json").unlink()),
    ],
)
def test_the_advice_of_the_error_repairs_the_split(in_chunks, damage):
    folder, sha256 = in_chunks
    damage(folder / "tiny_val")
    with pytest.raises(InputError) as error:
        open_split(folder, "tiny/val")
    assert follow(str(error.value)) == 0
    assert open_split(folder, "tiny/val").sha256 == sha256


def test_a_repair_is_told(in_chunks, caplog):
    change_an_array(in_chunks[0] / "tiny_val")
    with caplog.at_level(logging.WARNING, "hmralign.synth"):
        write_benchmark(in_chunks[0], ["tiny/val"])
    assert "not those it was written with: all of it is drawn again" in caplog.text


@pytest.mark.parametrize("finished", [True, False])
def test_chunks_of_another_generator_are_drawn_again(in_chunks, monkeypatch, finished):
    """They can be read and have the right number; only the frozen file tells that they are others."""
    from hmralign.data import synthwild_folder
    from hmralign.systems.synth import write_synthwild

    folder, sha256 = in_chunks
    split = open_split(folder, "tiny/val")
    frozen = {"sha256": sha256, "fingerprint": fingerprint(split_tensors(split.examples, split.slices))}
    for module in (synthwild_folder, write_synthwild):
        monkeypatch.setattr(module, "frozen_splits", lambda: {"tiny/val": frozen})
    other = folder / "other"
    monkeypatch.setitem(SPLITS, "tiny/val", replace(TINY, seed=5))
    with monkeypatch.context() as patch:
        patch.setattr(write_synthwild, "frozen_splits", lambda: {})
        write_benchmark(other, ["tiny/val"])
    monkeypatch.setitem(SPLITS, "tiny/val", TINY)
    if not finished:
        (other / "tiny_val" / "index.json").unlink()
    with pytest.raises(InputError) as error:
        open_split(other, "tiny/val")
    assert follow(str(error.value)) == 0
    assert open_split(other, "tiny/val").agreement == "identical"


def test_chunks_of_another_version_are_drawn_again(in_chunks, monkeypatch):
    """Told by the plan, also where no frozen file knows the split."""
    path = in_chunks[0] / "tiny_val"
    (path / "index.json").unlink()
    change_an_array(path)
    plan = json.loads((path / "plan.json").read_text())
    (path / "plan.json").write_text(json.dumps({**plan, "hmralign": "0.0.1"}))
    write_benchmark(in_chunks[0], ["tiny/val"])
    assert open_split(in_chunks[0], "tiny/val").sha256 == in_chunks[1]


def test_a_folder_that_holds_something_else_is_left_alone(folder, tmp_path):
    other = tmp_path / "other" / "tiny_val"
    other.mkdir(parents=True)
    (other / "plan.json").write_text('{"synth": {}}')
    (other / "shard_00000.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match="holds something else"):
        write_benchmark(tmp_path / "other", ["tiny/val"])
    assert (other / "shard_00000.safetensors").read_bytes() == b"mine"
    index = folder / "tiny_val" / "index.json"
    index.write_text("cut o")
    with pytest.raises(InputError, match=r"remove the folder .*tiny_val"):
        write_benchmark(folder, ["tiny/val"])


def pose_file(path, scale):
    poses = scale * np.random.default_rng(0).standard_normal((40, 24, 3))
    np.savez(path, poses=poses.astype(np.float32), split=np.full(40, 2))
    return path


@pytest.mark.parametrize("finished", [True, False])
def test_poses_of_another_file_are_refused(tmp_path, finished):
    mine, other = (pose_file(tmp_path / f"{name}.npz", scale) for name, scale in (("mine", 0.1), ("other", 0.2)))
    write_benchmark(tmp_path, ["real/test"], mine)
    path = tmp_path / "real_test"
    if not finished:
        (path / "index.json").unlink()
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    with pytest.raises(InputError, match=r"real_test: was made from another pose file"):
        write_benchmark(tmp_path, ["real/test"], other)
    assert before == {p.name: p.read_bytes() for p in path.iterdir()}
    assert write_benchmark(tmp_path, ["real/test"], mine) == {"real/test": "not frozen"}
    (path / "shard_00000.safetensors").unlink()
    with pytest.raises(InputError, match=r"--splits real/test --poses FILE"):
        open_split(tmp_path, "real/test")


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


def frozen_as(tensors):
    return {"tiny/val": {"sha256": "of another processor", "fingerprint": fingerprint(tensors)}}


def other_flags(tensors, name, flips):
    changed = tensors[name].clone()
    changed[:flips] = ~changed[:flips] if changed.dtype == torch.bool else changed[:flips] + 1
    return {**tensors, name: changed}


@pytest.fixture(scope="module")
def three_hundred():
    return split_tensors(*masked_chunk(Split("wild", "train", 300, 991, 0.6), 0))


@pytest.mark.parametrize("name", ["legs_seen", "knows_camera", "has_mask", "ambiguous_limbs"])
def test_a_few_flags_may_be_rounded_otherwise(three_hundred, name):
    same = three_hundred[name][:6].clone().fill_(0 if three_hundred[name].dtype != torch.bool else True)
    tensors = {**three_hundred, name: torch.cat([same, three_hundred[name][6:]])}
    frozen = frozen_as(tensors)
    for flips in (1, 2):
        other = other_flags(tensors, name, flips)
        assert agreement_with(frozen, "tiny/val", "", other) == "equal up to rounding"
    with pytest.raises(InputError, match=name):
        agreement_with(frozen, "tiny/val", "", other_flags(tensors, name, 5))


def test_a_flag_that_nobody_had_may_flip(three_hundred):
    tensors = {**three_hundred, "legs_seen": torch.ones(300, dtype=torch.bool)}
    frozen = frozen_as(tensors)
    assert agreement_with(frozen, "tiny/val", "", other_flags(tensors, "legs_seen", 2)) == "equal up to rounding"
    with pytest.raises(InputError, match="legs_seen"):
        agreement_with(frozen, "tiny/val", "", other_flags(tensors, "legs_seen", 3))


def test_counts_that_keep_their_mean_but_spread_are_noticed(three_hundred):
    counts = three_hundred["ambiguous_limbs"].clone()
    counts[:150] += 1
    counts[150:] -= 1
    with pytest.raises(InputError, match="ambiguous_limbs"):
        agreement_with(frozen_as(three_hundred), "tiny/val", "", {**three_hundred, "ambiguous_limbs": counts})


def test_a_shift_by_a_hundredth_of_the_spread_is_noticed(three_hundred):
    frozen = frozen_as(three_hundred)
    continuous = [name for name, v in three_hundred.items() if v.is_floating_point() and name != "ambiguous_limbs"]
    assert len(continuous) >= 9
    for name in continuous:
        values = three_hundred[name]
        with pytest.raises(InputError, match=f"'{name}'"):
            agreement_with(frozen, "tiny/val", "", {**three_hundred, name: values + 0.01 * values.std()})


def test_a_value_that_is_not_a_number_is_not_rounding(three_hundred):
    keypoints = three_hundred["keypoints"].clone()
    keypoints[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="keypoints"):
        agreement_with(frozen_as(three_hundred), "tiny/val", "", {**three_hundred, "keypoints": keypoints})


@pytest.mark.parametrize("world", ["lab", "wild"])
def test_another_noise_level_is_noticed(monkeypatch, world):
    """A tenth more noise of careful detectors, a hundredth more keypoints lost in the wild."""
    split = Split(world, "train", 300, 991, 0.6)
    frozen = frozen_as(split_tensors(*masked_chunk(split, 0)))
    mix = synthwild.WORLDS[world]
    low, high = mix.data.generic.scale
    data = replace(
        mix.data,
        generic=replace(mix.data.generic, scale=(1.1 * low, 1.1 * high)),
        failures=replace(mix.data.failures, dropped=mix.data.failures.dropped + (0.01 if world == "wild" else 0.0)),
    )
    monkeypatch.setitem(synthwild.WORLDS, world, replace(mix, data=data))
    with pytest.raises(InputError, match="another version of the generator"):
        agreement_with(frozen, "tiny/val", "", split_tensors(*masked_chunk(split, 0)))


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
    from hmralign.systems.synth import write_synthwild

    monkeypatch.setattr("hmralign.data.synthetic.synthwild.CHUNK", 12)
    drawn = write_synthwild.masked_chunk

    def killing(split, chunk, unseen=None):
        if chunk == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return drawn(split, chunk, unseen)

    with monkeypatch.context() as patch:
        patch.setattr(write_synthwild, "masked_chunk", killing)
        assert forked.run(lambda: write_benchmark(tmp_path / "a", ["tiny/val"])) == -signal.SIGKILL
    first = tmp_path / "a" / "tiny_val" / "shard_00000.safetensors"
    stamp = first.stat().st_mtime_ns
    with pytest.raises(InputError, match="not a finished"):
        open_split(tmp_path / "a", "tiny/val")
    for name in ("a", "b"):
        write_benchmark(tmp_path / name, ["tiny/val"])
    assert first.stat().st_mtime_ns == stamp
    a, b = (open_split(tmp_path / name, "tiny/val") for name in ("a", "b"))
    assert a.sha256 == b.sha256 and len(a) == 30


def test_real_poses_need_a_file(tmp_path):
    with pytest.raises(InputError, match="--poses"):
        write_benchmark(tmp_path, ["mocap/test"])
