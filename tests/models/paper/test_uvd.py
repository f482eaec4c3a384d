"""The papers' sample: which number is what."""

import torch

from hmralign.models.paper.uvd import pack_uvd, unit_sample, unpack_uvd
from support.synthetic_persons import seeded

UV, DEPTH = 256 * torch.rand(2, 29, 2, generator=seeded(0)), torch.randn(2, 29, generator=seeded(1))
TWIST = torch.randn(2, 23, 2, generator=seeded(2))


def test_numbers_are_those_of_the_formula():
    x = pack_uvd(UV, DEPTH, TWIST, 256)
    assert x.shape == (2, 133)
    torch.testing.assert_close(x[1, 3 * 7], 2 * (UV[1, 7, 0] * 50 / 256 - 25))
    torch.testing.assert_close(x[1, 3 * 7 + 1], 2 * (UV[1, 7, 1] * 50 / 256 - 25))
    torch.testing.assert_close(x[1, 3 * 7 + 2], 1000 * DEPTH[1, 7] / 20)  # millimetres over 20
    torch.testing.assert_close(x[1, 87 + 2 * 5 + 1], 50 * TWIST[1, 5, 1])
    torch.testing.assert_close(unit_sample(x)[..., 2], DEPTH[:, 0])


def test_unpacking_undoes_packing():
    for found, was in zip(unpack_uvd(pack_uvd(UV, DEPTH, TWIST, 256), 256), (UV, DEPTH, TWIST), strict=True):
        torch.testing.assert_close(found, was, atol=1e-4, rtol=1e-5)
