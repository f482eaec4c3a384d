"""Soft-argmax, where tokens look, and what is read there."""

import numpy as np
import pytest
import torch

from hmralign.models.paper.local_features import SHARPNESS, heatmap_points, sample_map, soft_argmax, token_points
from support.synthetic_persons import seeded


def peak(row: int, column: int, rows: int = 6, columns: int = 10) -> torch.Tensor:
    heatmap = torch.zeros(1, 1, rows, columns)
    heatmap[0, 0, row, column] = 50.0
    return heatmap


def test_a_sharp_peak_is_found_where_it_is_x_first():
    found = soft_argmax(peak(2, 7), corner=False)[0, 0]
    torch.testing.assert_close(found, torch.tensor([2 * 7 / 9 - 1, 2 * 2 / 5 - 1]))
    features = torch.arange(60.0).view(1, 1, 6, 10)
    assert torch.allclose(sample_map(features, found[None, None]), torch.tensor(27.0)), "where features are read"


def test_with_the_quirk_everything_lies_towards_the_upper_left():
    found = soft_argmax(peak(2, 7), corner=True)[0, 0]
    torch.testing.assert_close(found, torch.tensor([2 * 7 / 10 - 1, 2 * 2 / 6 - 1]))
    assert (found < soft_argmax(peak(2, 7), corner=False)[0, 0]).all()


def test_soft_argmax_is_the_mean_of_the_softmax():
    heatmaps = torch.randn(2, 3, 4, 5, generator=seeded(0)) * 0.2
    share = np.exp(SHARPNESS * heatmaps.numpy().astype(np.float64))
    share /= share.sum((-2, -1), keepdims=True)
    x = (share * np.arange(5)).sum((-2, -1)) * 2 / 5 - 1
    y = (share * np.arange(4)[:, None]).sum((-2, -1)) * 2 / 4 - 1
    np.testing.assert_allclose(soft_argmax(heatmaps, corner=True).numpy(), np.stack([x, y], -1), atol=1e-6)


def test_twists_look_at_the_middles_of_their_bones():
    joints = torch.randn(2, 29, 2, generator=seeded(1))
    points = token_points(joints, swapped=False)
    assert torch.equal(points[:, :29], joints)
    torch.testing.assert_close(points[:, 29 + 3], (joints[:, 4] + joints[:, 1]) / 2)  # twist 3: hip to knee
    swapped = token_points(joints, swapped=True)
    assert torch.equal(swapped[:, :29], joints)
    assert torch.equal(swapped[:, 29:], points[:, 29:].flip(-1))


def test_features_are_bilinear_between_cells_and_zero_outside():
    features = torch.tensor([[[[1.0, 2.0, 4.0], [3.0, 5.0, 7.0]]]])
    points = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.5, -1.0], [0.0, 0.0], [3.5, 0.0]]])
    torch.testing.assert_close(sample_map(features, points)[0, :, 0], torch.tensor([1.0, 7.0, 3.0, 3.5, 0.0]))


def test_each_hypothesis_reads_at_its_own_points():
    features = torch.randn(2, 4, 5, 6, generator=seeded(2))
    points = torch.rand(2, 3, 7, 2, generator=seeded(3)) * 2 - 1
    found = sample_map(features, points)
    assert found.shape == (2, 3, 7, 4)
    torch.testing.assert_close(found[1:, 2], sample_map(features[1:], points[1:, 2]))


@pytest.mark.parametrize("corner", [True, False])
def test_labels_are_where_the_soft_argmax_of_their_cell_is(corner):
    heatmaps = torch.zeros(1, 1, 16, 16)
    heatmaps[0, 0, 5, 11] = 100.0  # row, column
    found = soft_argmax(heatmaps, corner=corner)[0, 0]
    centre = torch.tensor([4 * 11 + 1.5, 4 * 5 + 1.5])  # pixel in the middle of the cell's four
    label = heatmap_points(centre, 64, corner=corner)
    # The public code's labels are three eighths of a cell off its own cells' centres; ours are on them.
    torch.testing.assert_close(label, found + (2 / 16 * 0.375 if corner else 0.0), atol=1e-5, rtol=0)
