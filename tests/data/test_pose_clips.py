"""Stretches of a clip whose frames are not all there."""

import math

import numpy as np
import pytest
import torch

from hmralign.data.pose_clips import load_pose_clips
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import InputError

ELBOW = 18
RATE = 0.05
"""Radians per frame by which the elbow turns about y in the file below."""


def file_of(tmp_path, frames, clips, **arrays):
    poses = np.zeros((len(frames), 24, 3), np.float32)
    poses[:, ELBOW, 1] = RATE * np.array(frames)
    poses[:, 0, 0] = 0.3  # everybody leans
    split = np.zeros(len(frames), np.uint8)
    content = {"poses": poses, "split": split, "clip": np.array(clips), "frame": np.array(frames)} | arrays
    path = tmp_path / "poses.npz"
    np.savez(path, **{k: v for k, v in content.items() if v is not None})
    return path


def test_frames_that_are_missing_are_filled_in_and_turns_are_those_from_the_middle(tmp_path):
    frames = [0, 1, 2, 5, 6, 7, 8]
    stretches = load_pose_clips(file_of(tmp_path, frames, [3] * 7), "train").stretches((-2, -1, 0, 1, 2))
    assert stretches.clips.frame[stretches.middle].tolist() == [2, 5, 6]
    turns = rotmat_to_rotvec(stretches.turns(torch.arange(len(stretches))))  # (stretch, frame, 24, 3)
    expected = RATE * torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert torch.allclose(turns[:, :, ELBOW, 1], expected.expand(3, 5), atol=1e-5)
    others = [j for j in range(24) if j != ELBOW]
    assert turns[:, :, others].abs().max() < 1e-5


def test_a_stretch_never_crosses_a_long_gap_or_leaves_its_clip(tmp_path):
    frames, clips = [0, 1, 2, 9, 10, 11, 0, 1, 2, 3], [0] * 6 + [1] * 4
    found = load_pose_clips(file_of(tmp_path, frames, clips), "train").stretches((-1, 0, 1))
    middles = list(zip(found.clips.clip[found.middle].tolist(), found.clips.frame[found.middle].tolist(), strict=True))
    assert middles == [(0, 1), (0, 10), (1, 1), (1, 2)]
    with pytest.raises(InputError, match="expected longer clips"):
        found.clips.stretches((-5, 0, 5))


def test_the_order_of_the_file_does_not_count_and_other_splits_are_left_out(tmp_path):
    split = np.array([0, 0, 1, 0], np.uint8)
    clips = load_pose_clips(file_of(tmp_path, [2, 1, 5, 0], [0, 0, 0, 0], split=split), "train")
    assert clips.frame.tolist() == [0, 1, 2]
    bend = rotvec_to_rotmat(torch.tensor([0.0, RATE * 2, 0.0]))
    assert torch.allclose(clips.rotmats[2, ELBOW], bend, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"clip": None}, "without clips"),
        ({"frame": np.array([0.5, 1.0, 2.0])}, "'frame' is no array of whole numbers"),
        ({"clip": np.zeros(2, np.int64)}, "'clip' is no array of whole numbers"),
        ({"frame": np.array([0, 1, 1])}, "two poses of the same frame"),
    ],
)
def test_files_that_do_not_tell_their_clips_are_refused(tmp_path, arrays, said):
    with pytest.raises(InputError, match=said):
        load_pose_clips(file_of(tmp_path, [0, 1, 2], [0, 0, 0], **arrays), "train")


def test_a_turn_is_not_longer_than_half_a_circle(tmp_path):
    path = file_of(tmp_path, [0, 1, 2], [0, 0, 0])
    turns = load_pose_clips(path, "train").stretches((-1, 0, 1)).turns(torch.zeros(1, dtype=torch.long))
    assert rotmat_to_rotvec(turns).norm(dim=-1).max() <= math.pi
