"""The regressor as a policy: one body per person, in the person frame."""

import pytest
import torch

from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.models.full_image_checkpoint import save_regressor
from hmralign.models.full_image_regressor import FullImageConfig, FullImageRegressor, KeypointTrunkConfig
from hmralign.models.person_frame import person_frame
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig, crop_side
from hmralign.policies.regressor import RegressorPolicy
from hmralign.structures import InputError
from support.synthetic_persons import BODY, persons, seeded


def opened(tmp_path):
    torch.manual_seed(0)
    model = FullImageRegressor(FullImageConfig(keypoints=KeypointTrunkConfig(width=16, depth=1, encoder_depth=1)))
    path = save_regressor(tmp_path / "r.safetensors", model, BODY.skeleton_hash, half=False, sources=("prior:train",))
    return open_policy(path, BODY)


def test_a_checkpoint_is_a_policy_that_recovers(tmp_path):
    policy = opened(tmp_path)
    assert isinstance(policy.policy, RegressorPolicy) and policy.trained_on == ("prior:train",)
    assert crop_side(policy.policy) is None
    seen = persons(3).observation
    group = policy.policy.propose(seen, SamplerConfig(num_hypotheses=1), seeded(0))
    found = policy.policy.model(seen)
    turn = person_frame(seen).R_person_cam
    torch.testing.assert_close(turn.mT @ group.rotmats[:, 0, 0], found.rotmats[:, 0])
    assert torch.equal(group.rotmats[:, 0, 1:], found.rotmats[:, 1:])
    made = estimate_bodies(
        policy.policy, seen, SamplerConfig(num_hypotheses=1), RefinementConfig(method="none"), noise_of("mediapipe"),
        seeded(0),
    )  # fmt: skip
    torch.testing.assert_close(made.fused.body_pose, found.rotmats[:, 1:])


def test_more_than_one_body_would_be_copies(tmp_path):
    with pytest.raises(InputError, match="one body per person"):
        opened(tmp_path).policy.propose(persons(2).observation, SamplerConfig(num_hypotheses=20), seeded(0))
