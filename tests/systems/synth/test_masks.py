"""Masks of synthetic persons: silhouettes against the body's own points, and each way of spoiling them alone."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import vertices
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.structures import MASK_SIZE, Example
from hmralign.systems.synth.masks import MaskNoise, crop_silhouettes, spoil
from support.synthetic_persons import BODY, exact, persons, seeded

CLEAN = MaskNoise(grow=0.0, shrink=0.0, hide=0.0, intruder=0.0)
FINE = 2 * MASK_SIZE


def far_from_borders(example: Example, offset: float = 5000.0) -> Example:
    """The same persons in the middle of a huge photo."""
    o = example.observation
    K = o.K.clone()
    K[:, :2, 2] += offset
    moved = replace(o, K=K, keypoints=o.keypoints + offset, box=o.box + offset)
    return Example(moved, example.annotation)


EXAMPLE = far_from_borders(exact(persons(8)))


@pytest.fixture(scope="module")
def silhouettes():
    return crop_silhouettes(BODY, EXAMPLE)


def spoilt(silhouettes, noise=CLEAN, example=EXAMPLE, size=None, seed=0):
    size = torch.full((8, 2), 1e5) if size is None else size
    return spoil(silhouettes, example, example.annotation.joints, size, noise, seeded(seed))


def test_silhouettes_cover_the_vertices(silhouettes):
    affine, _ = crop_affine(EXAMPLE.observation.box, FINE)
    pixels = apply_affine(affine, project(vertices(BODY, EXAMPLE.annotation.body), EXAMPLE.observation.K))
    cells = pixels.round().long()
    inside = ((cells >= 1) & (cells < FINE - 1)).all(-1)
    near = torch.nn.functional.max_pool2d(silhouettes[:, None].float(), 3, 1, 1)[:, 0]
    person = torch.arange(8)[:, None].expand_as(inside)
    hit = near[person[inside], cells[inside][:, 1], cells[inside][:, 0]]
    assert hit.mean() > 0.99
    assert 0.03 < silhouettes.float().mean() < 0.6


def test_a_clean_mask_is_the_silhouette_at_half_size(silhouettes):
    mask = spoilt(silhouettes)
    assert mask.shape == (8, MASK_SIZE, MASK_SIZE) and mask.min() >= 0 and mask.max() <= 1
    assert torch.equal(mask, silhouettes.float().unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean((2, 4)))


def test_growing_adds_and_shrinking_takes(silhouettes):
    clean = spoilt(silhouettes)
    grown, shrunk = (spoilt(silhouettes, replace(CLEAN, **{name: 1.0})) for name in ("grow", "shrink"))
    assert (grown >= clean).all() and grown.sum() > 1.05 * clean.sum()
    assert (shrunk <= clean).all() and shrunk.sum() < 0.95 * clean.sum()


def test_masks_end_at_the_border_of_the_image(silhouettes):
    """An image that ends at the box's middle keeps the left half."""
    box = EXAMPLE.observation.box
    size = torch.stack([(box[:, 0] + box[:, 2]) / 2 + 0.5, torch.full((8,), 1e5)], dim=1)
    mask = spoilt(silhouettes, size=size)
    assert mask[:, :, MASK_SIZE // 2 + 1 :].abs().max() == 0
    assert torch.equal(mask[:, :, : MASK_SIZE // 2 - 1], spoilt(silhouettes)[:, :, : MASK_SIZE // 2 - 1])


def test_hidden_keypoints_hide_the_mask_around_them(silhouettes):
    confidence = EXAMPLE.observation.confidence.clone()
    legs = [13, 14, 15, 16]
    confidence[:, legs] = 0.0
    example = Example(replace(EXAMPLE.observation, confidence=confidence), EXAMPLE.annotation)
    mask, clean = spoilt(silhouettes, replace(CLEAN, hide=1.0), example), spoilt(silhouettes)
    affine, _ = crop_affine(EXAMPLE.observation.box, MASK_SIZE)
    joints = apply_affine(affine, project(EXAMPLE.annotation.joints, EXAMPLE.observation.K)).round().long()
    person = torch.arange(8)
    at = lambda picture, joint: picture[person, joints[:, joint, 1].clamp(0, 47), joints[:, joint, 0].clamp(0, 47)]  # noqa: E731
    assert at(mask, 4).max() == 0 and at(mask, 5).max() == 0, "knees are hidden"
    assert mask.sum() > 0.2 * clean.sum(), "the rest is not"
    assert torch.equal(spoilt(silhouettes, replace(CLEAN, hide=1.0)), clean), "nothing is hidden where all is seen"


def test_an_intruder_is_somebody_elses_silhouette(silhouettes):
    mask, clean = spoilt(silhouettes, replace(CLEAN, intruder=1.0)), spoilt(silhouettes)
    assert (mask >= clean).all() and (mask.sum((1, 2)) > clean.sum((1, 2))).all()


def test_the_generator_decides(silhouettes):
    noise = MaskNoise()
    assert torch.equal(spoilt(silhouettes, noise, seed=3), spoilt(silhouettes, noise, seed=3))
    assert not torch.equal(spoilt(silhouettes, noise, seed=3), spoilt(silhouettes, noise, seed=4))
