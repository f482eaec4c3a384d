"""Crops and labels are changed together: what is painted at a joint is found where its label says."""

import math

import pytest
import torch

from hmralign.body.skeleton import MIRROR_JOINTS
from hmralign.models.paper.uvd import pack_uvd, unpack_uvd
from hmralign.structures import InputError
from hmralign.training.crop_augmentation import NO_AUGMENTATION, CropAugmentation, CropDraws, augmented, draw_crops
from support.synthetic_persons import seeded

SIDE, SIZE = 96, 64


def dots(uv: torch.Tensor) -> torch.Tensor:
    """A picture for each joint with a soft white dot where it is."""
    axis = torch.arange(SIDE, dtype=torch.float32)
    x, y = axis[None, None, :], axis[None, :, None]
    bright = torch.exp(-((x - uv[:, 0, None, None]) ** 2 + (y - uv[:, 1, None, None]) ** 2) / 18)
    return (255 * bright[:, None].expand(-1, 3, -1, -1)).round().to(torch.uint8)


def centre(image: torch.Tensor) -> torch.Tensor:
    """Where the brightness of each picture is, x and y."""
    weight = image.mean(1)
    axis = torch.arange(image.shape[-1], dtype=torch.float32)
    total = weight.sum((-2, -1))
    return torch.stack([(weight.sum(-2) @ axis) / total, (weight.sum(-1) @ axis) / total], dim=-1)


def draws(n: int, zoom: float, degrees: float, mirrored: bool) -> CropDraws:
    return CropDraws(
        torch.full((n,), zoom), torch.full((n,), math.radians(degrees)), torch.full((n,), mirrored),
        torch.zeros(n, 4), torch.ones(n, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("zoom", "degrees", "mirrored"),
    [(1.0, 0, False), (1.25, 0, False), (0.8, 25, False), (1.0, 0, True), (1.2, -40, True)],
)
def test_labels_follow_pixels_and_sides_change_in_the_mirror(zoom, degrees, mirrored):
    angle = torch.rand(29, generator=seeded(0)) * 2 * math.pi
    uv = 47.5 + 22 * torch.rand(29, 1, generator=seeded(1)) * torch.stack([angle.cos(), angle.sin()], dim=-1)
    depth, twist = torch.randn(29, generator=seeded(2)), torch.randn(23, 2, generator=seeded(3))
    sample = pack_uvd(uv, depth, twist, SIDE).expand(29, 133)
    found = augmented(dots(uv), sample, draws(29, zoom, degrees, mirrored), SIZE, seeded(0))
    label, depths, twists = unpack_uvd(found.x_0, SIZE)
    where = list(MIRROR_JOINTS) if mirrored else list(range(29))
    seen = label[torch.arange(29), where]  # picture j shows joint j, whose mirror image has the other side's name
    assert found.inside.all()
    assert (seen - centre(found.image)).abs().max() < 0.35
    torch.testing.assert_close(depths[0][where], depth, atol=1e-5, rtol=0)
    if not mirrored:
        torch.testing.assert_close(twists[0], twist, atol=1e-5, rtol=0)


def test_a_turn_goes_from_x_to_y_and_a_zoom_out_makes_persons_smaller():
    uv = torch.tensor([[67.5, 47.5]]).expand(29, 2)  # to the right of the middle
    sample = pack_uvd(uv, torch.zeros(29), torch.ones(23, 2), SIDE)[None]
    found = augmented(dots(uv[:1]), sample, draws(1, 2.0, 90, False), SIZE, seeded(0))
    x, y = unpack_uvd(found.x_0, SIZE)[0][0, 0].tolist()
    assert (x, y) == (pytest.approx(31.5, abs=1e-3), pytest.approx(31.5 + 20 * SIZE / SIDE / 2, abs=1e-3))


def test_joints_that_leave_the_picture_are_said():
    uv = torch.full((29, 2), 90.0)
    sample = pack_uvd(uv, torch.zeros(29), torch.ones(23, 2), SIDE)[None]
    assert augmented(dots(uv[:1]), sample, draws(1, 1.0, 0, False), SIZE, seeded(0)).inside.all()
    assert not augmented(dots(uv[:1]), sample, draws(1, 0.7, 0, False), SIZE, seeded(0)).inside.any()


def test_noise_hides_a_rectangle_and_nothing_else():
    crop = torch.full((2, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    hidden = CropDraws(
        torch.ones(2), torch.zeros(2), torch.zeros(2, dtype=torch.bool),
        torch.tensor([[0.25, 0.5, 0.5, 0.75], [0.0, 0.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0], [1.2, 1.0, 0.8]]),
    )  # fmt: skip
    image = augmented(crop, torch.zeros(2, 133), hidden, SIZE, seeded(0)).image
    changed = (image[0] - 128 / 255).abs().amax(0) > 1e-4
    assert changed[32:48, 16:32].float().mean() > 0.95 and not changed[:32].any() and not changed[:, 32:].any()
    torch.testing.assert_close(image[1, :, 0, 0], 128 / 255 * torch.tensor([1.2, 1.0, 0.8]))


def test_draws_have_the_shares_and_bounds_of_the_recipe():
    found = draw_crops(4000, CropAugmentation(), seeded(0))
    assert found.zoom.min() >= 0.7 and found.zoom.max() <= 1.3 and 0.9 < found.zoom.mean() < 1.1
    assert (found.turn != 0).float().mean() == pytest.approx(0.6, abs=0.03)
    assert found.turn.abs().max() <= math.radians(60) + 1e-6
    assert found.mirrored.float().mean() == pytest.approx(0.5, abs=0.03)
    assert (found.occluded[:, 2] > 0).float().mean() == pytest.approx(0.8, abs=0.03)
    assert found.occluded.max() <= 1 and found.colour.min() >= 0.8 and found.colour.max() <= 1.2
    plain = draw_crops(5, NO_AUGMENTATION, seeded(0))
    crop = torch.randint(256, (5, 3, SIZE, SIZE), generator=seeded(1)).to(torch.uint8)
    sample = torch.randn(5, 133, generator=seeded(2))
    same = augmented(crop, sample, plain, SIZE, seeded(0))
    torch.testing.assert_close(same.image, crop.float() / 255, atol=1e-4, rtol=0)
    torch.testing.assert_close(same.x_0, sample, atol=1e-3, rtol=0)


def test_values_without_meaning_are_refused():
    for wrong in ({"turn_share": 1.5}, {"zoom_std": 1.0}, {"turn_degrees": -1.0}, {"occlusion_side": 2.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            CropAugmentation(**wrong)
    with pytest.raises(InputError, match="colour"):
        CropAugmentation(colour=-0.1, mirror_share=0.5, occlusion_share=0.8)
