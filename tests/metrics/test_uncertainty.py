"""Calibration: honest groups are told from groups too sure, and recalibration makes them honest."""

import pytest
import torch
from scipy.stats import chi2

from hmralign.metrics.uncertainty import (
    CHI2_3,
    MIN_VARIANCE,
    JointGaussians,
    Recalibration,
    fit_recalibration,
    joint_gaussians,
    negative_log_likelihood,
    relative_truth,
    reliability,
    squared_mahalanobis,
)
from hmralign.structures import InputError
from support.synthetic_persons import seeded

PERSONS, HYPS, JOINTS = 300, 60, 5


def world(too_sure: float = 1.0, seed: int = 0):
    """Groups and truths drawn from the same Gaussians of varied size; groups shrunk by `too_sure`."""
    g = seeded(seed)
    size = 0.02 + 0.1 * torch.rand(PERSONS, 1, JOINTS, 1, generator=g)
    axis = torch.tensor([1.0, 1.0, 3.0])  # depth is the least known
    centre = torch.randn(PERSONS, 1, JOINTS, 3, generator=g)
    group = centre + size * axis * torch.randn(PERSONS, HYPS, JOINTS, 3, generator=g) / too_sure
    truth = (centre + size * axis * torch.randn(PERSONS, 1, JOINTS, 3, generator=g))[:, 0]
    pelvis = torch.randn(PERSONS, 1, 1, 3, generator=g)
    zero = torch.zeros(PERSONS, 1, 1, 3)
    group = torch.cat([zero.expand(-1, HYPS, -1, -1), group], dim=2) + pelvis
    truth = torch.cat([zero[:, 0], truth], dim=1) + pelvis[:, 0]
    return group, truth


def test_quantiles_are_those_of_chi_square():
    for p, value in CHI2_3.items():
        assert value == pytest.approx(chi2.ppf(p, 3), abs=1e-4)


def test_gaussians_are_sample_moments_relative_to_the_pelvis():
    group, _ = world()
    got = joint_gaussians(group)
    one = (group[7, :, 1:] - group[7, :, :1])[:, 2]
    torch.testing.assert_close(got.mean[7, 2], one.mean(0), atol=1e-5, rtol=0)
    expected = torch.cov(one.T) + MIN_VARIANCE * torch.eye(3)
    torch.testing.assert_close(got.covariance[7, 2], expected, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(got.spread[7, 2], expected.trace().sqrt(), atol=1e-5, rtol=1e-3)
    moved = joint_gaussians(group + 5.0)
    torch.testing.assert_close(moved.mean, got.mean, atol=1e-4, rtol=0)


def test_mahalanobis_of_an_honest_group_averages_three():
    group, truth = world()
    distance = squared_mahalanobis(joint_gaussians(group), relative_truth(truth))
    assert distance.mean() == pytest.approx(3.0, rel=0.12)


def test_honest_groups_are_calibrated_and_sure_ones_are_not():
    for too_sure, inside in ((1.0, True), (2.0, False)):
        group, truth = world(too_sure)
        seen = reliability(joint_gaussians(group), relative_truth(truth))
        ratio = seen.actual / seen.predicted
        assert bool((ratio - 1).abs().max() < 0.25) is inside
        assert (abs(seen.coverage[0.9] - 0.9) < 0.05) is inside and (abs(seen.coverage[0.5] - 0.5) < 0.06) is inside
    assert (seen.predicted[1:] >= seen.predicted[:-1]).all() and seen.joints.sum() == PERSONS * JOINTS
    assert seen.expected_calibration_error > 0.05


def test_recalibration_of_sure_groups_carries_over_to_other_persons():
    group, truth = world(too_sure=2.0)
    fitted = fit_recalibration(joint_gaussians(group), relative_truth(truth))
    assert fitted.scale.mean() == pytest.approx(2.0, rel=0.15)
    other, other_truth = world(too_sure=2.0, seed=9)
    before = joint_gaussians(other)
    after = fitted(before)
    assert torch.equal(after.mean, before.mean)
    honest = reliability(after, relative_truth(other_truth))
    assert abs(honest.coverage[0.5] - 0.5) < 0.06 and abs(honest.coverage[0.9] - 0.9) < 0.04
    assert (
        honest.expected_calibration_error
        < 0.3 * reliability(before, relative_truth(other_truth)).expected_calibration_error
    )


def test_recalibration_is_a_minimum_and_repeats_itself():
    group, truth = world(too_sure=1.5, seed=3)
    predicted, target = joint_gaussians(group), relative_truth(truth)
    fitted = fit_recalibration(predicted, target)
    again = fit_recalibration(predicted, target)
    assert torch.equal(fitted.scale, again.scale) and torch.equal(fitted.floor, again.floor)
    best = negative_log_likelihood(fitted(predicted), target).mean()
    for change in (0.8, 1.25):
        other = Recalibration(fitted.scale * change, fitted.floor)
        assert negative_log_likelihood(other(predicted), target).mean() > best


def test_constant_groups_get_their_uncertainty_from_the_floor():
    _, truth = world(seed=4)
    target = relative_truth(truth)
    centre = target + 0.05 * torch.randn(target.shape, generator=seeded(5))
    nothing = JointGaussians(centre, MIN_VARIANCE * torch.eye(3).expand(*centre.shape, 3))
    fitted = fit_recalibration(nothing, target)
    total = (fitted.scale.square() * MIN_VARIANCE + fitted.floor.square()).sqrt()
    torch.testing.assert_close(total, torch.full_like(total, 0.05), atol=0.005, rtol=0)


def test_wrong_input():
    group, truth = world()
    with pytest.raises(InputError, match="no spread"):
        joint_gaussians(group[:, :1])
    with pytest.raises(InputError, match="finite"):
        fit_recalibration(joint_gaussians(group), relative_truth(truth) * torch.nan)
