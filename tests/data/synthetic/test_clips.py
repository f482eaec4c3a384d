"""Persons who move before one camera."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.data.pose_clips import PoseClips
from hmralign.data.synthetic.clips import ClipConfig, sample_clips
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import InputError

CONFIG = ClipConfig(seconds=(-0.2, -0.1, 0.0, 0.1, 0.2))
KNEE = 4


def stretches(turning: float = 0.1):
    """A clip in which the left knee and the pelvis turn by so much in each frame."""
    rotvecs = torch.zeros(30, 24, 3)
    rotvecs[:, KNEE, 0] = turning * torch.arange(30)
    rotvecs[:, 0, 1] = turning * torch.arange(30)
    clips = PoseClips(rotvec_to_rotmat(rotvecs), torch.zeros(30, dtype=torch.long), torch.arange(30))
    return clips.stretches((-2, -1, 0, 1, 2))


def persons(count: int = 20, config: ClipConfig = CONFIG, turning: float = 0.1, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return sample_clips(world_generator("wild", "train"), stretches(turning), config, count, generator)


def test_a_person_moves_as_the_clip_moved_with_one_shape_and_camera():
    found = persons()
    assert found.frames.annotation is not None
    body = found.frames.annotation.body
    turns = rotmat_to_rotvec(body.body_pose[:, 2:3].mT @ body.body_pose)  # (n, frame, 23, 3)
    expected = 0.1 * torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert torch.allclose(turns[:, :, KNEE - 1, 0], expected.expand(20, 5), atol=1e-4)
    assert (body.betas == body.betas[:, :1]).all()
    seen = found.frames.observation
    assert (seen.K == seen.K[:, :1]).all() and (seen.knows_camera == seen.knows_camera[:, :1]).all()
    model = world_generator("wild", "train").model
    assert (posed_joints(model, body) - found.frames.annotation.joints).abs().max() < 1e-4


def test_whoever_goes_along_goes_over_the_ground_at_one_velocity():
    found = persons()
    assert found.frames.annotation is not None
    steps = found.frames.annotation.body.transl.diff(dim=1)  # (n, 4, 3)
    assert (steps - steps[:, :1]).abs().max() < 1e-5
    assert (steps * found.up[:, None]).sum(-1).abs().max() < 1e-5
    still = persons(config=replace(CONFIG, speed=0.0))
    assert still.frames.annotation is not None
    assert still.frames.annotation.body.transl.diff(dim=1).abs().max() == 0
    assert torch.allclose(found.up.norm(dim=-1), torch.ones(20), atol=1e-5)


def test_errors_are_shared_with_near_frames_and_hiding_with_all():
    """Nobody moves, so that keypoints differ by the detector's error alone."""

    def apart(noise_seconds: float):
        config = replace(CONFIG, speed=0.0, noise_seconds=noise_seconds)
        seen = persons(200, config, turning=0.0).frames.observation
        both = (seen.confidence[:, 2] > 0) & (seen.confidence[:, 3] > 0)
        size = (seen.box[:, 2, 2:] - seen.box[:, 2, :2]).amax(-1)
        off = (seen.keypoints[:, 3] - seen.keypoints[:, 2]).norm(dim=-1) / size[:, None]
        return off[both].square().mean().sqrt()

    near, far = apart(1e6), apart(0.0)
    assert near < 0.05 * far
    assert near < apart(0.1) < far
    seen = persons(200, replace(CONFIG, speed=0.0, noise_seconds=1e6), turning=0.0).frames.observation
    assert ((seen.confidence[:, 0] > 0) == (seen.confidence[:, 4] > 0)).float().mean() > 0.9


def test_captured_poses_are_those_of_the_clip_and_the_seed_says_who_is_drawn():
    found = persons(config=replace(CONFIG, captured=True))
    assert found.frames.annotation is not None
    pose = rotmat_to_rotvec(found.frames.annotation.body.body_pose[:, 2])
    assert pose[:, [j for j in range(23) if j != KNEE - 1]].abs().max() < 1e-4
    assert torch.equal(persons().frames.observation.keypoints, persons().frames.observation.keypoints)
    assert not torch.equal(persons().frames.observation.keypoints, persons(seed=1).frames.observation.keypoints)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": (-0.1, 0.1)}, "expected growing times with 0 among them"),
        ({"seconds": (0.1, 0.0)}, "expected growing times with 0 among them"),
        ({"seconds": (-0.1, 0.0, 0.1)}, "5 frames for 3 times"),
    ],
)
def test_times_that_do_not_fit_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        persons(config=replace(CONFIG, **change))


def test_nobody_and_unmeasured_noise_are_refused():
    with pytest.raises(InputError, match="expected at least one"):
        persons(0)
    with pytest.raises(InputError, match="measured noise alone"):
        sample_clips(world_generator("lab", "train"), stretches(), CONFIG, 3, torch.Generator())
