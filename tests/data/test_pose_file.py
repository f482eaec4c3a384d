"""Pose files: what is read means what it should, and wrong files are refused with a sentence."""

import math
import os

import numpy as np
import pytest
import torch

from hmralign.data.pose_file import load_pose_file
from hmralign.structures import InputError
from support.npz_damage import with_broken_stream
from support.shared_data import require_shared


def write(path, **changes):
    arrays = {"poses": np.zeros((6, 24, 3), np.float32), "split": np.array([0, 0, 0, 1, 2, 2])} | changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "poses.npz"


def refusal(path, split="train"):
    with pytest.raises(InputError) as caught:
        load_pose_file(path, split)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_each_split_gets_its_own_poses(path):
    poses = np.arange(6)[:, None, None] * np.full((1, 24, 3), 0.01)
    write(path, poses=poses)
    sizes = {split: load_pose_file(path, split).rotvecs for split in ("train", "val", "test")}
    assert {k: len(v) for k, v in sizes.items()} == {"train": 3, "val": 1, "test": 2}
    torch.testing.assert_close(sizes["val"][0], torch.full((24, 3), 0.03))


@pytest.mark.parametrize(
    ("root", "up"),
    [
        ((0, 0, 0), (0, 1, 0)),
        ((0, 1.2, 0), (0, 1, 0)),  # turning on the spot changes nothing
        ((math.pi / 2, 0, 0), (0, 0, -1)),  # bent over by 90 degrees, face down: up is behind
        ((-math.pi / 2, 0, 0), (0, 0, 1)),  # on the back: up is in front
        ((0, 0, math.pi / 2), (1, 0, 0)),  # head towards the right: the left side is up
    ],
)
def test_up_as_the_pelvis_sees_it(path, root, up):
    poses = np.zeros((6, 24, 3))
    poses[:, 0] = root
    got = load_pose_file(write(path, poses=poses), "train").up_in_pelvis
    torch.testing.assert_close(got, torch.tensor(up).float().expand(3, 3), atol=1e-6, rtol=0)


def test_the_same_file_has_the_same_hash(tmp_path):
    a, b = (load_pose_file(write(tmp_path / f"{n}.npz"), "train") for n in "ab")
    other = load_pose_file(write(tmp_path / "c.npz", poses=np.ones((6, 24, 3))), "train")
    assert a.sha256 == b.sha256 != other.sha256


def test_missing_file(tmp_path):
    assert "no such pose file" in refusal(tmp_path / "none.npz")
    assert "no such pose file" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_a_file_of_another_kind(path, content):
    path.write_bytes(content)
    assert "not a pose file" in refusal(path)


def test_a_truncated_file(path):
    write(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "not a pose file" in refusal(path)


def test_a_broken_stream(path):
    assert "not a pose file" in refusal(with_broken_stream(write(path), "poses"))


def test_a_single_array_is_no_pose_file(path):
    with path.open("wb") as handle:
        np.save(handle, np.zeros((6, 24, 3)))
    assert "not a pose file" in refusal(path)


@pytest.mark.parametrize("missing", ["poses", "split"])
def test_a_missing_array(path, missing):
    assert missing in refusal(write(path, **{missing: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"poses": np.zeros((6, 23, 3))},
        {"poses": np.zeros((6, 72))},
        {"split": np.zeros(5)},
        {"split": np.zeros((6, 1))},
        {"poses": np.full((6, 24, 3), "left")},
    ],
)
def test_wrong_arrays(path, changes):
    refusal(write(path, **changes))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_angles_that_are_not_finite(path, value):
    poses = np.zeros((6, 24, 3))
    poses[4, 3, 1] = value
    write(path, poses=poses)
    assert "split 'test'" in refusal(path, "test")
    load_pose_file(path, "train")  # another split is not touched by it


def test_an_empty_split(path):
    assert "'val' is empty" in refusal(write(path, split=np.zeros(6)), "val")


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_inside_is_refused_and_never_runs(path, tmp_path):
    marker = tmp_path / "was_here"
    poses = np.empty((6, 24, 3), dtype=object)
    poses[:] = Malicious(marker)
    assert "allow_pickle" in refusal(write(path, poses=poses))
    assert not marker.exists()
    np.load(path, allow_pickle=True)["poses"]
    assert marker.exists(), "the pickle does run when allowed, so this test is able to fail"


@pytest.mark.assets
def test_real_poses_stand_mostly_upright():
    poses = load_pose_file(require_shared("poses/cmu_smpl24_poses.npz"), "val")
    assert (poses.up_in_pelvis[:, 1] > 0.8).float().mean() > 0.7
    torch.testing.assert_close(poses.up_in_pelvis.norm(dim=1), torch.ones(len(poses.up_in_pelvis)))
