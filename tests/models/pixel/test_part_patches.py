"""Patches lie along their parts, however these point, and the mirror image's follow without another look."""

import math
from dataclasses import replace

import pytest
import torch

from hmralign.body.skeleton import MIRROR_KEYPOINTS
from hmralign.models.pixel.part_patches import LIMBS, mirrored_patches, part_patches
from hmralign.structures import InputError, Observation

SIDE = 96


def _observed(angle: float = 0.0, crop: torch.Tensor | None = None) -> Observation:
    """A person whose left forearm is a bar, in a crop as large as the photo."""
    keypoints = torch.zeros(1, 27, 2)
    confidence = torch.zeros(1, 27)
    elbow, wrist = LIMBS[2]
    middle, half = torch.tensor([47.5, 47.5]), 15.0
    along = torch.tensor([math.sin(angle), math.cos(angle)])
    keypoints[0, elbow], keypoints[0, wrist] = middle - half * along, middle + half * along
    confidence[0, [elbow, wrist]] = 1.0
    edge = (SIDE - SIDE / 1.25) / 2
    box = torch.tensor([[edge - 0.5, edge - 0.5, SIDE - edge - 0.5, SIDE - edge - 0.5]])
    crop = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8) if crop is None else crop
    return Observation(
        keypoints, confidence, box, torch.eye(3)[None], torch.tensor([True]), torch.zeros(1, 48, 48),
        torch.tensor([False]), crop, torch.tensor([True]),
    )  # fmt: skip


def _bar(angle: float) -> torch.Tensor:
    """Bright towards the wrist, dark towards the elbow, along a line through the middle."""
    y, x = torch.meshgrid(torch.arange(SIDE) - 47.5, torch.arange(SIDE) - 47.5, indexing="ij")
    along = math.sin(angle) * x + math.cos(angle) * y
    return (128 + 6 * along).clamp(0, 255).to(torch.uint8).expand(1, 3, SIDE, SIDE)


@pytest.mark.parametrize("degrees", [0, 37, 90, 180, 250])
def test_a_limb_looks_the_same_however_it_points(degrees):
    angle = math.radians(degrees)
    upright = part_patches(_observed(0.0, _bar(0.0))).limbs[0, 2].float()
    turned = part_patches(_observed(angle, _bar(angle))).limbs[0, 2].float()
    assert (upright - turned).abs().max() < 6
    assert turned[:, -1].mean() > 200 > 60 > turned[:, 0].mean()  # rows run from the elbow to the wrist


def test_parts_that_are_not_seen_are_black_and_say_so():
    patches = part_patches(_observed(0.3, _bar(0.3) | 1))
    seen = patches.geometry[0, :, 3]
    assert seen.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert (patches.limbs[0, [0, 1, 3, 4, 5, 6, 7]] == 0).all() and (patches.trunk == 0).all()


def test_a_person_without_a_crop_has_zeros():
    observation = replace(_observed(0.3, _bar(0.3)), has_crop=torch.tensor([False]))
    patches = part_patches(observation)
    assert all(bool((tensor == 0).all()) for tensor in patches.tensors().values())
    with pytest.raises(InputError, match="looks at pixels"):
        part_patches(replace(observation, crop=None, has_crop=None))


def test_patches_of_the_mirror_image_are_those_of_the_mirrored_photo():
    draw = torch.Generator().manual_seed(0)
    crop = torch.nn.functional.avg_pool2d(torch.rand(1, 3, SIDE + 8, SIDE + 8, generator=draw), 9, 1) * 255
    keypoints = 20 + 55 * torch.rand(1, 27, 2, generator=draw)
    plain = replace(_observed(0.0, crop.to(torch.uint8)), keypoints=keypoints, confidence=torch.ones(1, 27))
    flipped = torch.stack([SIDE - 1 - keypoints[..., 0], keypoints[..., 1]], -1)[:, list(MIRROR_KEYPOINTS)]
    mirrored = replace(plain, keypoints=flipped, crop=plain.crop.flip(-1))
    here, there = mirrored_patches(part_patches(plain)), part_patches(mirrored)
    assert (here.limbs.int() - there.limbs.int()).abs().max() <= 2
    assert (here.trunk.int() - there.trunk.int()).abs().max() <= 2
    assert torch.allclose(here.geometry, there.geometry, atol=1e-4)
