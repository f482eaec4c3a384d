"""The lite model as a policy: its losses are those of the person as observed, part by part and sample by sample."""

from dataclasses import replace

import torch

from hmralign.diffusion.parameterization import add_noise
from hmralign.policies.lite_sampling import SamplerConfig, sample_group, shapes
from hmralign.policies.policy import bodies_in
from support.synthetic_persons import BODY, mirrored, persons, seeded
from support.toy_policy import tiny_policy

POLICY = tiny_policy()
OBSERVED = persons(4).observation
CONTEXT = POLICY.context(OBSERVED)
X_0, EPS = torch.randn(2, 4, 3, 130, generator=seeded(0))
T = torch.randint(1000, (4, 3), generator=seeded(1))


def test_losses_are_those_of_the_denoiser_on_each_sample_of_the_person_as_observed():
    loss = POLICY.denoising_loss(X_0, T, EPS, CONTEXT)
    parts = POLICY.part_losses(X_0, T, EPS, CONTEXT)
    denoiser = POLICY.model.denoiser
    for person in range(4):
        prepared = denoiser.prepare(CONTEXT.plain[person])
        for hyp in range(3):
            x_0, eps, t = X_0[person, hyp], EPS[person, hyp], T[person, hyp]
            error = (eps - denoiser(add_noise(x_0, eps, denoiser.schedule.at(t)), t, prepared)).square()
            torch.testing.assert_close(loss[person, hyp], error.mean(), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(parts[person, hyp, 0], error[:84].mean(), atol=1e-5, rtol=1e-4)  # 28 joints
            torch.testing.assert_close(parts[person, hyp, 1], error[84:].mean(), atol=1e-5, rtol=1e-4)  # 23 twists


def test_the_loss_of_a_mirrored_sample_of_a_mirrored_photo_is_that_of_its_variant():
    """Noise is not mirrored: it is drawn for the sample as it is seen."""
    other = POLICY.denoising_loss(POLICY.x_0_variant(X_0, 1), T, EPS, POLICY.context(mirrored(OBSERVED)))
    ours = POLICY.denoising_loss(POLICY.x_0_variant(X_0, 1), T, EPS, POLICY.context_variant(OBSERVED, 1))
    torch.testing.assert_close(ours, other, atol=1e-3, rtol=1e-3)
    assert (ours - POLICY.denoising_loss(X_0, T, EPS, CONTEXT)).abs().max() > 0.05


def test_a_person_has_one_shape_seen_from_both_sides():
    mean = (CONTEXT.plain.betas + CONTEXT.mirrored.betas) / 2
    assert (CONTEXT.plain.betas - mean).abs().max() > 0.01
    torch.testing.assert_close(shapes(CONTEXT.plain, CONTEXT.mirrored), mean)
    for o in (OBSERVED, mirrored(OBSERVED)):
        group = sample_group(POLICY.model, BODY, o, SamplerConfig(3, 2), seeded(0))
        torch.testing.assert_close(group.betas, mean[:, None].expand(-1, 3, -1), atol=1e-4, rtol=0)
    bodies = POLICY.to_body(X_0, replace(OBSERVED))
    torch.testing.assert_close(bodies.body.betas, mean[:, None].expand(-1, 3, -1))


def test_bodies_are_the_same_with_the_context_at_hand():
    policy, seen = tiny_policy(), persons(3).observation
    context = policy.context(seen)
    x_0 = policy.sample(context, 6, seeded(1))
    with_it, without = bodies_in(policy, x_0, seen, context), policy.to_body(x_0, seen)
    assert torch.equal(with_it.joints, without.joints) and torch.equal(with_it.body.betas, without.body.betas)
    assert not with_it.body.betas.requires_grad, "shapes are not learned through the bodies"
