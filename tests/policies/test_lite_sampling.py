"""Sampling: pairs, mirrors, batches; fusion and spread."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import MIRROR_JOINTS, MIRROR_KEYPOINTS
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.geometry.frames import mirror_rotmats
from hmralign.geometry.rotations import rotmat_angle
from hmralign.hypotheses.fusion import fuse_rotations
from hmralign.hypotheses.spread import joint_spread
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.policies import lite_sampling
from hmralign.policies.lite_sampling import sample_group
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError, Observation

BODY = load_free_body("3k5")


def tiny_model() -> LiteModel:
    torch.manual_seed(0)
    model = LiteModel(LiteConfig(width=32, hidden=64, depth=1, context_width=32, context_depth=1)).eval()
    torch.nn.init.normal_(model.denoiser.head.weight, std=0.1)
    model.codec.mean.copy_(torch.zeros(130))
    return model


MODEL = tiny_model()


def observations(n=4) -> Observation:
    source = Generator(BODY, PoseSource(load_pose_prior()), SyntheticMix(known_camera_share=0.5))
    return source.sample(n, torch.Generator().manual_seed(5)).observation


def mirrored(o: Observation, width: float) -> Observation:
    flip = lambda p: torch.cat([width - 1 - p[..., :1], p[..., 1:]], -1)  # noqa: E731
    K = o.K.clone()
    K[:, 0, 2] = width - 1 - K[:, 0, 2]
    box = o.box[:, [2, 1, 0, 3]].clone()
    box[:, [0, 2]] = width - 1 - box[:, [0, 2]]
    return replace(
        o,
        keypoints=flip(o.keypoints)[:, list(MIRROR_KEYPOINTS)],
        confidence=o.confidence[:, list(MIRROR_KEYPOINTS)],
        box=box,
        K=K,
        mask=o.mask.flip(-1),
    )


def group(o, m=10, seed=0):
    return sample_group(MODEL, BODY, o, SamplerConfig(m, 3), torch.Generator().manual_seed(seed))


def test_same_seed_same_group_and_other_seed_other_group():
    o = observations()
    a, b, c = group(o), group(o), group(o, seed=1)
    assert torch.equal(a.rotmats, b.rotmats) and not torch.equal(a.rotmats, c.rotmats)
    assert torch.equal(a.rotmats[:, :2], c.rotmats[:, :2]), "the zero-noise modes do not depend on the seed"


def test_the_group_of_the_mirrored_photo_is_the_mirrored_group():
    o = observations()
    plain, other = group(o), group(mirrored(o, 640.0))
    back = mirror_rotmats(other.rotmats, MIRROR_JOINTS[:24])
    swapped = back.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)  # plain and mirrored halves exchange places
    assert rotmat_angle(swapped, plain.rotmats).max() < 0.01
    assert rotmat_angle(fuse_rotations(back), fuse_rotations(plain.rotmats)).max() < 0.01


def test_a_person_does_not_depend_on_the_others():
    o = observations()
    together, alone = group(o), group(o[2:3])
    torch.testing.assert_close(together.rotmats[2:3], alone.rotmats, atol=5e-4, rtol=0)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_group_sizes(m):
    assert group(observations(2), m).rotmats.shape == (2, m, 24, 3, 3)


@pytest.mark.parametrize("persons, m", [(1, 10), (3, 11), (2, 64)])
def test_both_halves_at_once_are_what_each_is_alone(persons, m, monkeypatch):
    """But for rounding: some processors add up the products of another batch size in another order."""
    together = group(observations(persons), m).rotmats
    monkeypatch.setattr(lite_sampling, "_LARGE_HALF", 10**9)
    apart = group(observations(persons), m).rotmats
    assert (together - apart).abs().max() < 1e-4


def test_no_hypotheses_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        group(observations(1), 0)


def test_crop_shift_and_scale_do_not_change_a_known_camera_answer():
    o = replace(observations(), knows_camera=torch.ones(4, dtype=torch.bool))
    s, dx, dy = 0.5, 37.0, -12.0
    A = torch.tensor([[s, 0, dx], [0, s, dy], [0, 0, 1.0]])
    moved = replace(
        o,
        keypoints=s * o.keypoints + torch.tensor([dx, dy]),
        box=s * o.box + torch.tensor([dx, dy, dx, dy]),
        K=A @ o.K,
    )
    assert rotmat_angle(group(moved).rotmats, group(o).rotmats).max() < 0.009  # 0.5 degrees


def test_crop_shift_and_scale_do_not_change_an_unknown_camera_answer():
    o = replace(observations(), knows_camera=torch.zeros(4, dtype=torch.bool))
    moved = replace(o, keypoints=2 * o.keypoints + 100, box=2 * o.box + 100)  # K stays a guess of another image
    assert rotmat_angle(group(moved).rotmats, group(o).rotmats).max() < 0.009


def test_spread_is_zero_for_equal_bodies_and_ignores_place():
    joints = torch.randn(3, 1, 29, 3).expand(3, 6, 29, 3)
    assert joint_spread(joints).abs().max() < 1e-6
    moved = joints + torch.randn(3, 6, 1, 3)
    assert joint_spread(moved).max() < 1e-5
    noisy = joints + 0.1 * torch.randn(3, 6, 29, 3)
    assert joint_spread(noisy)[:, 1:].min() > 0.01
