"""PSNR, SSIM and soft IoU: limits, symmetry, and oracles written another way."""

import pytest
import torch

from hmralign.metrics.image_quality import haze, psnr, soft_iou, ssim
from hmralign.structures import InputError
from support.synthetic_persons import seeded


def picture(seed, *shape):
    return torch.rand(*(shape or (2, 3, 16, 16)), generator=seeded(seed))


def test_psnr_counts_decibel():
    true = picture(0)
    assert psnr(true, true).isinf().all()
    torch.testing.assert_close(psnr(true + 0.1, true), torch.full((2,), 20.0))
    torch.testing.assert_close(psnr(2 * true + 0.2, 2 * true, span=2.0), torch.full((2,), 20.0))


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise_and_blur():
    true = picture(1)
    torch.testing.assert_close(ssim(true, true), torch.ones(2))
    noisy = true + 0.1 * torch.randn(true.shape, generator=seeded(2))
    flat = true.mean((-1, -2), keepdim=True).expand_as(true)
    assert (ssim(flat, true) < ssim(noisy, true)).all() and (ssim(noisy, true) < 1).all()
    torch.testing.assert_close(ssim(noisy, true), ssim(true, noisy))


def test_ssim_of_one_window_is_the_formula():
    x, y = picture(3, 1, 11, 11).double(), picture(4, 1, 11, 11).double()
    place = torch.arange(11).double() - 5
    w = torch.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * 1.5**2))
    w = w / w.sum()
    mean_x, mean_y = (w * x[0]).sum(), (w * y[0]).sum()
    var_x, var_y = (w * (x[0] - mean_x) ** 2).sum(), (w * (y[0] - mean_y) ** 2).sum()
    shared = (w * (x[0] - mean_x) * (y[0] - mean_y)).sum()
    expected = (2 * mean_x * mean_y + 1e-4) * (2 * shared + 9e-4)
    expected = expected / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
    assert float(ssim(x, y)) == pytest.approx(float(expected), rel=1e-9)


def test_soft_iou_counts_shares_of_pixels():
    empty, half, full = torch.zeros(4, 4), torch.full((4, 4), 0.5), torch.ones(4, 4)
    assert float(soft_iou(half, full)) == 0.5 and float(soft_iou(half, half)) == 1.0
    assert float(soft_iou(empty, empty)) == 1.0 and float(soft_iou(empty, full)) == 0.0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        psnr(picture(0), picture(0)[:1])
    with pytest.raises(InputError, match="not finite"):
        ssim(picture(0) * float("nan"), picture(0))
    with pytest.raises(InputError, match="at least 11 pixels"):
        ssim(picture(0, 1, 8, 8), picture(1, 1, 8, 8))


def test_haze_is_none_of_hard_masks_and_all_of_half_ones():
    hard = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert haze(hard).tolist() == [0.0, 0.0]
    assert haze(torch.full((2, 2), 0.5)) == 2.0
    assert haze(torch.tensor([[1.0, 0.5]])) == pytest.approx(1 / 1.5)
    assert haze(torch.tensor([[3.0, -1.0]])) == 0.0  # pixels out of range are cut
