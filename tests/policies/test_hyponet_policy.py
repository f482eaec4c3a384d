"""HypoNet as a policy: the protocols, where bodies come to stand, and what its quirks change."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.diffusion.parameterization import add_noise
from hmralign.models.paper.config import OWN
from hmralign.models.paper.uvd import unpack_uvd
from hmralign.models.person_frame import person_frame
from hmralign.policies.catalogue import KINDS, open_policy, policy_skeleton
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.policies.policy import (
    AugmentedPolicy,
    BodyEncoder,
    DiffusionPolicy,
    NoisePredictor,
    PartedPolicy,
    PersonProposer,
    PersonSampler,
    SamplerConfig,
    SavedPolicy,
)
from hmralign.structures import BodyParams, InputError
from support.synthetic_persons import BODY, seeded
from support.tiny_paper import TINY_PAPER, own_config, seen_persons, tiny_hyponet, with_pixels, with_quirks

POLICY = tiny_hyponet()
OWN_POLICY = tiny_hyponet(own_config())
EXAMPLE = seen_persons(4)
OBSERVED = EXAMPLE.observation
CONTEXT = POLICY.context(OBSERVED)
X_0, EPS = (20 * torch.randn(4, 3, 133, generator=seeded(n)) for n in (0, 1))
T = torch.randint(1000, (4, 3), generator=seeded(2))
KNOWN = seen_persons(6, known=1.0)
TRUTH = KNOWN.annotation.body


def one_each(body: BodyParams) -> BodyParams:
    """With an axis of one hypothesis."""
    return body[:, None]


class WithShape(HypoNetPolicy):
    """A policy whose encoder knows the true shapes."""

    def __init__(self, policy, betas):
        super().__init__(policy.model, policy.body)
        self.betas = betas

    def _betas(self, observation):
        return self.betas


# -- protocols -------------------------------------------------------------------------------------------------------


def test_it_can_all_that_a_policy_can():
    for protocol in (
        DiffusionPolicy, NoisePredictor, PartedPolicy, BodyEncoder, AugmentedPolicy, SavedPolicy, PersonSampler,
        PersonProposer,
    ):  # fmt: skip
        assert isinstance(POLICY, protocol), protocol


def test_a_checkpoint_is_opened_by_its_kind(tmp_path):
    path = POLICY.save(tmp_path / "tiny.safetensors", ("theirs",))
    opened = open_policy(path, BODY, num_steps=3)
    assert isinstance(opened.diffusion(), HypoNetPolicy) and opened.trained_on == ("theirs",)
    assert set(KINDS) == {"lite", "pixel", "hyponet", "regressor"} and policy_skeleton(path) == BODY.skeleton_hash
    group = opened.policy.propose(OBSERVED, SamplerConfig(3, 3), seeded(0))
    torch.testing.assert_close(group.rotmats, POLICY.propose(OBSERVED, SamplerConfig(3, 3), seeded(0)).rotmats)


def test_a_policy_without_pixels_says_so():
    blind = replace(OBSERVED, crop=None, has_crop=None)
    for ask in (
        lambda: POLICY.context(blind),
        lambda: POLICY.propose(blind, SamplerConfig(3, 3), seeded(0)),
        lambda: POLICY.to_body(X_0, blind),
    ):
        with pytest.raises(InputError, match="looks at pixels"):
            ask()
    with pytest.raises(InputError, match="at least 1"):
        POLICY.propose(OBSERVED, SamplerConfig(0, 3), seeded(0))


def test_samples_that_are_not_finite_are_refused():
    broken = copy.deepcopy(POLICY)
    with torch.no_grad():
        broken.model.denoiser.linear_final_j.bias.fill_(torch.inf)
    with pytest.raises(InputError, match="samples that are not finite"):
        broken.propose(OBSERVED, SamplerConfig(2, 3), seeded(0))


# -- denoising -------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_denoiser_on_each_sample():
    loss, parts = POLICY.denoising_loss(X_0, T, EPS, CONTEXT), POLICY.part_losses(X_0, T, EPS, CONTEXT)
    net = POLICY.model.denoiser
    for person in range(4):
        for hyp in range(3):
            t = T[person, hyp]
            x_t = add_noise(X_0[person, hyp], EPS[person, hyp], net.schedule.at(t))
            error = (EPS[person, hyp] - net(x_t[None, None], t, CONTEXT[person : person + 1])[0, 0]).square()
            torch.testing.assert_close(loss[person, hyp], error.mean(), rtol=1e-3, atol=1e-4)
            expected = torch.stack([error[:87].mean(), error[87:].mean()])
            torch.testing.assert_close(parts[person, hyp], expected, rtol=1e-3, atol=1e-4)


def test_a_person_does_not_depend_on_the_others():
    each = [seeded(n) for n in (5, 6, 7, 8)]
    together = POLICY.sample_each(CONTEXT, 3, each)
    alone = POLICY.sample(CONTEXT[2:3], 3, seeded(7))
    torch.testing.assert_close(together[2:3], alone, atol=1e-3, rtol=1e-3)
    shared = POLICY.sample(CONTEXT, 3, seeded(7))
    torch.testing.assert_close(shared[2:3], alone, atol=1e-3, rtol=1e-3)
    one_by_one = POLICY.propose(OBSERVED[1:2], SamplerConfig(3, 3), seeded(6)).rotmats
    groups = POLICY.propose_each(OBSERVED, SamplerConfig(3, 3), [seeded(n) for n in (5, 6, 7, 8)]).rotmats
    torch.testing.assert_close(groups[1:2], one_by_one, atol=5e-3, rtol=0)


def test_samples_are_the_same_however_many_fit_into_one_call(monkeypatch):
    whole = POLICY.sample(CONTEXT, 3, seeded(0))
    monkeypatch.setattr("hmralign.policies.hyponet._MOST_AT_ONCE", 5)
    torch.testing.assert_close(POLICY.sample(CONTEXT, 3, seeded(0)), whole, atol=1e-3, rtol=1e-3)


def test_sampling_sees_weights_that_changed():
    policy = copy.deepcopy(POLICY)
    before = policy.sample(CONTEXT, 2, seeded(0))
    assert torch.equal(policy.sample(CONTEXT, 2, seeded(0)), before)
    with torch.no_grad():
        policy.model.denoiser.linear_final_j.bias += 1.0
    changed = policy.sample(CONTEXT, 2, seeded(0))
    assert (changed - before).abs().max() > 0.1
    bias = policy.model.denoiser.linear_final_j.bias
    bias.data = bias.data - 1.0  # as moving to another device does
    torch.testing.assert_close(policy.sample(CONTEXT, 2, seeded(0)), before, atol=1e-3, rtol=1e-3)


def test_shapes_are_kept_until_something_changes():
    policy, calls = copy.deepcopy(POLICY), []
    policy.model.encoder.register_forward_hook(lambda *_: calls.append(1))
    first = policy.to_group(X_0, OBSERVED).betas
    policy.to_group(X_0, OBSERVED)
    assert len(calls) == 1
    with torch.no_grad():
        policy.model.encoder.pred_beta.bias += 1.0
    torch.testing.assert_close(policy.to_group(X_0, OBSERVED).betas, first + 1)
    other = with_pixels(OBSERVED, seed=9)
    assert (policy.to_group(X_0, other).betas - first - 1).abs().max() > 1e-4


def test_bfloat16_blocks_move_samples_a_little():
    near = HypoNetPolicy(POLICY.model, BODY, dtype=torch.bfloat16).sample(CONTEXT, 3, seeded(0))
    exact = POLICY.sample(CONTEXT, 3, seeded(0))
    assert 0 < (near - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_variants_are_the_person_and_its_mirror_image():
    x = POLICY.from_body(one_each(TRUTH), KNOWN.observation)
    torch.testing.assert_close(POLICY.x_0_variant(POLICY.x_0_variant(x, 1), 1), x, atol=1e-3, rtol=1e-5)
    uv, _, _ = unpack_uvd(x, 64)
    mirrored, _, _ = unpack_uvd(POLICY.x_0_variant(x, 1), 64)
    torch.testing.assert_close(mirrored[..., 1, 0], 63 - uv[..., 2, 0], atol=1e-3, rtol=1e-4)
    flipped = replace(OBSERVED, crop=OBSERVED.crop.flip(-1))
    torch.testing.assert_close(
        POLICY.context_variant(OBSERVED, 1).local, POLICY.context(flipped).local, atol=1e-2, rtol=0
    )
    assert torch.equal(POLICY.x_0_variant(x, 0), x)
    with pytest.raises(InputError, match="2 variants"):
        POLICY.context_variant(OBSERVED, 2)


# -- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [POLICY, OWN_POLICY], ids=["naive", "own"])
def test_a_body_comes_back_without_a_given_depth(policy):
    knowing = WithShape(policy, TRUTH.betas)
    x_0 = knowing.from_body(one_each(TRUTH), KNOWN.observation)
    group = knowing.to_group(x_0, KNOWN.observation)
    expected = TRUTH.rotmats.clone()
    expected[:, 0] = person_frame(KNOWN.observation).R_person_cam @ expected[:, 0]
    assert (group.rotmats[:, 0] - expected).abs().max() < 0.02


def test_joints_are_those_of_an_independent_computation():
    """From samples to joints in the camera by NumPy: pixels, inverse of K, given depth; then directions of bones."""
    policy = WithShape(OWN_POLICY, TRUTH.betas)
    x_0 = policy.from_body(one_each(TRUTH), KNOWN.observation) + 0.3 * torch.randn(6, 1, 133, generator=seeded(4))
    root = torch.linspace(2, 6, 6)
    group = policy.to_group(x_0, KNOWN.observation, root)
    rest = rest_joints(BODY, TRUTH.betas).numpy()
    parents = np.array(BODY.parents)
    for person in range(6):
        numbers = x_0[person, 0].double().numpy() / 50
        u, v, d = numbers[:87].reshape(29, 3).T
        x0, y0, x1, y1 = KNOWN.observation.box[person].double().numpy()
        side, size = 1.25 * max(x1 - x0, y1 - y0), TINY_PAPER.image_size
        pixel = [
            (x0 + x1) / 2 + ((u + 1) / 2 * size - (size - 1) / 2) * side / size,
            (y0 + y1) / 2 + ((v + 1) / 2 * size - (size - 1) / 2) * side / size,
            np.ones(29),
        ]
        rays = np.linalg.solve(KNOWN.observation.K[person].double().numpy(), np.stack(pixel))
        joints = (rays * (d + float(root[person]))).T
        R = person_frame(KNOWN.observation).R_person_cam[person].double().numpy()
        world = [group.rotmats[person, 0, 0].double().numpy()]
        for joint in range(1, 24):
            world.append(world[parents[joint]] @ group.rotmats[person, 0, joint].double().numpy())
        for joint, child in ((4, 7), (16, 18), (18, 20), (12, 15), (9, 12)):
            bone = world[joint] @ (rest[person, child] - rest[person, joint])
            target = R @ (joints[child] - joints[joint])
            cosine = bone @ target / np.linalg.norm(bone) / np.linalg.norm(target)
            assert cosine > 1 - 1e-5, (person, joint)


def test_bodies_stand_where_the_keypoints_are():
    knowing = WithShape(POLICY, TRUTH.betas)
    x_0 = knowing.from_body(one_each(TRUTH), KNOWN.observation)
    placed = knowing.to_body(x_0, KNOWN.observation)
    truth = KNOWN.annotation.joints[:, None]
    seen = (KNOWN.observation.confidence > 0).sum(-1) > 20
    assert seen.any()
    error = (placed.joints - truth)[seen].norm(dim=-1).mean((-2, -1)) / truth[seen][..., 0, 2].mean(-1)
    assert error.max() < 0.2  # depth from noisy keypoints; the pose itself is exact
    torch.testing.assert_close(posed_joints(BODY, placed.body), placed.joints)


def test_a_guessed_camera_is_replaced_by_the_nominal_one():
    """The answer then depends on the crop alone, not on the focal length that somebody guessed."""
    guessed = replace(OBSERVED, knows_camera=torch.zeros(4, dtype=torch.bool))
    longer = replace(guessed, K=guessed.K * torch.tensor([[1.5, 1, 1], [1, 1.5, 1], [1, 1, 1]]))
    torch.testing.assert_close(POLICY.to_group(X_0, guessed).rotmats, POLICY.to_group(X_0, longer).rotmats)
    known = replace(longer, knows_camera=torch.ones(4, dtype=torch.bool))
    assert (POLICY.to_group(X_0, known).rotmats - POLICY.to_group(X_0, longer).rotmats).abs().max() > 1e-3


def test_groups_come_back_from_samples():
    group = POLICY.propose(KNOWN.observation, SamplerConfig(2, 3), seeded(0))
    again = POLICY.to_group(POLICY.from_group(group, KNOWN.observation), KNOWN.observation)
    assert torch.equal(again.betas, group.betas)
    assert (again.rotmats - group.rotmats).abs().mean() < 0.05


def test_gradients_reach_a_sample_through_the_body():
    x_0 = X_0.clone().requires_grad_()
    OWN_POLICY.to_body(x_0, OBSERVED).joints.square().sum().backward()
    assert torch.isfinite(x_0.grad).all() and x_0.grad.abs().sum(-1).min() > 0


# -- quirks ----------------------------------------------------------------------------------------------------------


def test_hypothesis_0_starts_without_noise_or_with_a_draw():
    first, second = (POLICY.sample(CONTEXT, 2, seeded(n)) for n in (0, 1))
    torch.testing.assert_close(first[:, 0], second[:, 0])
    assert (first[:, 1] - second[:, 1]).abs().max() > 0.1
    drawn = tiny_hyponet(with_quirks(zero_noise_first=False))
    assert (drawn.sample(CONTEXT, 2, seeded(0))[:, 0] - first[:, 0]).abs().max() > 0.1
    assert OWN.zero_noise_first, "as every policy of the package"


def test_three_steps_are_four_calls_or_three():
    assert POLICY.times(3) == [999, 666, 333, 0]
    assert OWN_POLICY.times(3) == [999, 666, 332]
    plain = tiny_hyponet(with_quirks(strided_times=False))
    assert (plain.sample(CONTEXT, 2, seeded(0)) - POLICY.sample(CONTEXT, 2, seeded(0))).abs().max() > 1e-2


def test_constants_of_the_channels_change_what_is_seen():
    other = tiny_hyponet(with_quirks(bgr_constants=False))
    assert (other.context(OBSERVED).local - CONTEXT.local).abs().max() > 1e-3


def test_the_naive_pelvis_is_another_one():
    other = tiny_hyponet(with_quirks(naive_ik=False))
    ours, theirs = other.to_group(X_0, OBSERVED).rotmats, POLICY.to_group(X_0, OBSERVED).rotmats
    assert (ours[:, :, 0] - theirs[:, :, 0]).abs().max() > 0.1


def test_dropout_is_switched_on_in_the_policy_alone_and_norms_never_learn():
    def trained(config):
        policy = copy.deepcopy(tiny_hyponet(config)).train(True)
        assert not any(m.training for m in policy.model.encoder.modules())
        torch.manual_seed(0)
        losses = [policy.denoising_loss(X_0, T, EPS, CONTEXT) for _ in range(2)]
        return (losses[0] - losses[1]).abs().max()

    assert trained(TINY_PAPER) > 0.1
    assert trained(with_quirks(dropout_when_aligned=False)) == 0
    reference = copy.deepcopy(POLICY).eval()
    assert torch.equal(reference.denoising_loss(X_0, T, EPS, CONTEXT), POLICY.denoising_loss(X_0, T, EPS, CONTEXT))
