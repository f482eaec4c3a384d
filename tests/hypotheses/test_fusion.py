"""Answers from groups: what each is by definition, and what it must not depend on."""

import pytest
import torch

from hmralign.geometry.rotations import random_rotmat, rotmat_angle, rotvec_to_rotmat
from hmralign.hypotheses.fusion import densest, fuse_rotations, likelihood_weights, medoid, score_weights
from hmralign.structures import InputError
from support.synthetic_persons import seeded

N, M = 5, 9


def rotations(spread=0.2, seed=0):
    g = seeded(seed)
    centre = random_rotmat((N, 1, 24), g)
    return centre, centre @ rotvec_to_rotmat(spread * torch.randn(N, M, 24, 3, generator=g))


def test_the_mean_is_near_the_centre_and_knows_no_order():
    centre, group = rotations()
    mean = fuse_rotations(group)
    assert rotmat_angle(mean, centre[:, 0]).mean() < 0.2
    shuffled = fuse_rotations(group[:, torch.randperm(M, generator=seeded(1))])
    assert rotmat_angle(mean, shuffled).max() < 1e-3


def test_all_weight_on_one_is_that_one_and_equal_weights_are_none():
    _, group = rotations()
    one = torch.zeros(N, M)
    one[:, 3] = 1.0
    assert rotmat_angle(fuse_rotations(group, one), group[:, 3]).max() < 2e-3
    assert rotmat_angle(fuse_rotations(group, torch.full((N, M), 0.1)), fuse_rotations(group)).max() < 2e-3


def test_score_weights_between_picking_and_averaging():
    scores = torch.randn(N, M, generator=seeded(2))
    cold, hot = score_weights(scores, 1e-3), score_weights(scores, 1e4)
    assert torch.equal(cold.argmax(1), scores.argmax(1)) and (cold.amax(1) > 0.99).all()
    torch.testing.assert_close(hot, torch.full((N, M), 1 / M), atol=1e-3, rtol=0)
    torch.testing.assert_close(score_weights(scores + 5, 0.3), score_weights(scores, 0.3), atol=1e-5, rtol=0)


def test_scores_that_are_not_finite_have_no_say():
    scores = torch.tensor([[1.0, torch.nan, torch.inf, 1.0], [torch.nan] * 4])
    assert score_weights(scores, 1.0).tolist() == [[0.5, 0.0, 0.0, 0.5], [0.25] * 4]
    with pytest.raises(InputError, match="expected a positive number"):
        score_weights(scores, 0.0)


def test_likelihood_weights_give_the_posterior_mean_of_prior_samples():
    """One number, prior N(0, 1), measured 1 with noise 0.5: the posterior mean is 0.8."""
    samples = torch.randn(1, 200_000, generator=seeded(3))
    weights = likelihood_weights(((samples - 1.0) / 0.5).square())
    assert (weights * samples).sum() == pytest.approx(0.8, abs=0.01)


def joints_around(centres, sizes):
    g = seeded(4)
    parts = [c + 0.02 * torch.randn(n, 24, 3, generator=g) for c, n in zip(centres, sizes, strict=True)]
    group = torch.cat(parts)[None]
    return group - group[..., :1, :]


def test_medoid_and_densest_choose_the_larger_of_two_clusters():
    g = seeded(5)
    a, b = torch.randn(24, 3, generator=g), torch.randn(24, 3, generator=g)
    group = joints_around([a, b], [4, 7])
    assert int(medoid(group)) >= 4 and int(densest(group)) >= 4
    assert int(medoid(group.flip(1))) < 7 and int(densest(group.flip(1))) < 7


def test_an_outlier_moves_neither():
    group = joints_around([torch.zeros(24, 3)], [8])
    far = torch.cat([group, group[:, :1] + 5 * torch.randn(1, 1, 24, 3, generator=seeded(6))], dim=1)
    assert int(medoid(far)) < 8 and int(densest(far)) < 8


def test_picks_do_not_depend_on_where_bodies_stand():
    group = torch.randn(3, 6, 24, 3, generator=seeded(7))
    moved = group + 10 * torch.randn(3, 6, 1, 3, generator=seeded(8))
    assert torch.equal(medoid(group), medoid(moved))
    assert torch.equal(densest(group, 1.0), densest(moved, 1.0))


def test_bodies_are_compared_from_their_pelvis():
    """A bent spine is one joint that is off; whoever measured from there would find every joint off."""
    group = torch.zeros(1, 4, 24, 3)
    group[0, 0, 3, 0] = 0.5  # the spine
    for other, joints in ((1, slice(4, 10)), (2, slice(10, 16)), (3, slice(16, 22))):
        group[0, other, joints, 1] = 0.3
    assert int(medoid(group)) == 0 and int(densest(group, 0.1)) == 0
