"""Refinement: keypoints pull towards keypoints, words towards what they say, and nothing else moves anything."""

from dataclasses import dataclass, replace

import pytest
import torch

from hmralign.body.joint_limits import limit_violation
from hmralign.body.lbs import posed_joints
from hmralign.geometry.rotations import rotmat_angle, rotvec_to_rotmat
from hmralign.metrics.joint_errors import mpjpe
from hmralign.refinement.inversion import InversionConfig
from hmralign.refinement.pull import PullConfig
from hmralign.refinement.refine import RefineConfig, refine
from hmralign.refinement.start import start_of
from hmralign.structures import InputError, PersonGroup
from support.refined_persons import persons

LEFT_WRIST, RIGHT_ANKLE = 20, 8


@dataclass(frozen=True)
class WristNearer:
    """Wants the left wrist so many metres nearer to the camera than the pelvis."""

    metres: float = 0.3

    def loss(self, joints, rotmats):
        return 100 * (joints[:, LEFT_WRIST, 2] - joints[:, 0, 2] + self.metres).square()


def weights(keypoints: float, text: float) -> RefineConfig:
    return RefineConfig(pull=PullConfig(keypoint_weight=keypoints, text_weight=text))


def test_without_evidence_nothing_moves():
    _, fit, initial = persons()
    refined = refine(initial, fit, None, weights(0.0, 0.0)).refined
    torch.testing.assert_close(refined.rotmats, initial.rotmats, atol=1e-4, rtol=0)
    torch.testing.assert_close(refined.betas, initial.betas, atol=1e-5, rtol=0)


def test_keypoints_pull_bodies_towards_them():
    example, fit, initial = persons()
    found = refine(initial, fit, None, weights(1.0, 0.0))
    assert bool((found.keypoint_loss[:, -1] < found.keypoint_loss[:, 0]).all())
    truth = example.annotation.joints[:, :24]
    before, after = (mpjpe(posed_joints(fit.body, b)[:, :24], truth, 0).mean() for b in (initial, found.refined))
    assert float(after) < float(before)


def test_words_move_the_limb_that_they_name_and_keep_it_on_its_keypoints():
    _, fit, initial = persons()
    alone = refine(initial, fit, WristNearer(), weights(0.0, 1.0))
    kept = refine(initial, fit, WristNearer(), weights(1.0, 1.0))
    assert float(alone.text_loss[:, -1].mean()) < 0.3 * float(alone.text_loss[:, 0].mean())
    assert float(kept.text_loss[:, -1].mean()) < 0.5 * float(kept.text_loss[:, 0].mean())
    assert bool((kept.keypoint_loss[:, -1] < alone.keypoint_loss[:, -1] + 1e-3).all())
    wordless = refine(initial, fit, None, weights(1.0, 0.0))
    before, after = (posed_joints(fit.body, b.refined)[:, :24] for b in (wordless, kept))
    moved = ((after - after[:, :1]) - (before - before[:, :1])).norm(dim=-1).mean(0)
    assert float(moved[LEFT_WRIST]) > 2 * float(moved[RIGHT_ANKLE])


def test_nobody_depends_on_the_others():
    _, fit, initial = persons()
    together = refine(initial, fit, WristNearer(), RefineConfig()).refined
    alone = refine(initial[1:2], replace_persons(fit, 1), WristNearer(), RefineConfig()).refined
    torch.testing.assert_close(together.rotmats[1:2], alone.rotmats, atol=1e-4, rtol=0)


def replace_persons(fit, index):
    one = slice(index, index + 1)
    evidence = replace(fit.evidence, tangents=fit.evidence.tangents[one], confidence=fit.evidence.confidence[one])
    return replace(fit, observation=fit.observation[one], frame=fit.frame[one], evidence=evidence)


def test_steps_begin_with_the_initial_body_and_end_with_the_refined_one():
    _, fit, initial = persons()
    found = refine(initial, fit, WristNearer(), RefineConfig(num_steps=3))
    assert found.steps.batch_shape == (6, 4) and found.keypoint_loss.shape == (6, 4)
    torch.testing.assert_close(found.steps[:, 0].rotmats, initial.rotmats, atol=1e-4, rtol=0)
    assert torch.equal(found.steps[:, -1].rotmats, found.refined.rotmats)


def test_without_keypoints_words_still_move_and_nothing_breaks():
    _, fit, initial = persons()
    blind = replace(fit.evidence, confidence=torch.zeros(6, 27))
    unseen = replace(fit.observation, confidence=torch.zeros(6, 27))
    found = refine(initial, replace(fit, evidence=blind, observation=unseen), WristNearer(), RefineConfig())
    assert bool((found.keypoint_loss == 0).all())
    assert float(found.text_loss[:, -1].mean()) < float(found.text_loss[:, 0].mean())
    assert bool(torch.isfinite(found.refined.transl).all())


def test_a_group_says_along_which_directions_bodies_move():
    _, fit, initial = persons()
    legs = torch.zeros(6, 8, 24, 3)
    legs[:, :, [4, 5]] = 0.3 * torch.randn(6, 8, 2, 3, generator=torch.Generator().manual_seed(0))
    start = start_of(fit, initial)
    doubt = PersonGroup(start.rotmats[:, None] @ rotvec_to_rotmat(legs), start.betas[:, None].expand(-1, 8, -1))
    config = RefineConfig(pull=PullConfig(keypoint_weight=0.0, group_share=1.0))
    found = refine(initial, fit, WristNearer(), config, doubt=doubt)
    assert float((found.text_loss[:, -1] - found.text_loss[:, 0]).abs().max()) < 1e-2  # arms are sure: they stay


def test_no_joint_turns_further_than_allowed_in_one_pull():
    _, fit, initial = persons()
    config = RefineConfig(num_steps=1, pull=PullConfig(max_turn_deg=2.0))
    found = refine(initial, fit, WristNearer(), config)
    assert float(torch.rad2deg(rotmat_angle(found.steps[:, 1].body_pose, initial.body_pose)).max()) < 2.1


def test_noise_needs_a_generator_and_is_its_alone():
    _, fit, initial = persons()
    noisy = RefineConfig(start_noise=1.0)
    with pytest.raises(InputError, match="needs a generator"):
        refine(initial, fit, None, noisy)
    one, same, other = (
        refine(initial, fit, None, noisy, generator=torch.Generator().manual_seed(s)).refined.rotmats for s in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("values", [{"num_steps": 0}, {"start_noise": -1.0}, {"clamp": 0.0}])
def test_settings_without_meaning_are_refused(values):
    with pytest.raises(InputError):
        RefineConfig(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"keypoint_weight": -1.0},
        {"text_weight": float("nan")},
        {"limit_weight": -1.0},
        {"group_share": 2.0},
        {"pose_sd_deg": 0.0},
        {"betas_sd": 0.0},
    ],
)
def test_pulls_without_meaning_are_refused(values):
    with pytest.raises(InputError):
        PullConfig(**values)


def test_inversion_lowers_the_energy_and_keeps_every_loop():
    _, fit, initial = persons()
    config = RefineConfig(inversion=InversionConfig(start=0.05, stride=0.01, loops=3, tolerance=0.0))
    found = refine(initial, fit, WristNearer(), config)
    assert 2 <= found.steps.batch_shape[1] <= 4
    energy = 0.1 * found.keypoint_loss + found.text_loss
    assert bool((energy.diff(dim=1) <= 1e-3).all()) and float(energy[:, -1].mean()) < float(energy[:, 0].mean())


def test_persons_who_gain_too_little_by_a_loop_stay():
    _, fit, initial = persons()
    config = RefineConfig(inversion=InversionConfig(stride=0.01, tolerance=10.0))
    found = refine(initial, fit, WristNearer(), config)
    torch.testing.assert_close(found.refined.rotmats, initial.rotmats, atol=1e-4, rtol=0)


@pytest.mark.parametrize("values", [{"start": 0.0}, {"stride": 0.2}, {"loops": 0}, {"tolerance": -1.0}])
def test_inversions_without_meaning_are_refused(values):
    with pytest.raises(InputError):
        InversionConfig(**values)


def test_unknown_conditions_are_refused():
    with pytest.raises(InputError, match="expected some of context, keypoints, text"):
        RefineConfig(conditions=("picture",))


def test_joints_stay_within_their_ranges_where_that_counts():
    """The hand shall go far behind the body: the shoulder alone would twist to where none can."""
    _, fit, initial = persons()
    free = PullConfig(keypoint_weight=0.0, text_weight=1.0, pose_sd_deg=25.0, steps=10)

    def beyond(config):
        found = refine(initial, fit, WristNearer(-0.9), RefineConfig(num_steps=1, pull=config))
        excess = limit_violation(found.refined.body_pose) - limit_violation(initial.body_pose)
        return float(excess.clamp(min=0).amax(-1).mean()), found

    loose, _ = beyond(free)
    tight, near = beyond(replace(free, limit_weight=100.0))
    assert tight < 0.5 * loose and loose > 0.05, (loose, tight)
    assert bool((near.text_loss[:, -1] < near.text_loss[:, 0]).all()), "and words still move"
