"""The keypoint encoder: what it is given, mirrored or not, and what it must not notice."""

from dataclasses import replace

import pytest
import torch

from hmralign.models.context import FEATURES, KeypointEncoder, keypoint_features
from hmralign.models.person_frame import person_frame
from support.synthetic_persons import SWAP, mirrored, persons, seeded

MASK = torch.rand(6, 48, 48, generator=seeded(0))
HAS_MASK = torch.tensor([True, False, True, True, False, True])
OBSERVED = replace(persons(6).observation, mask=MASK * HAS_MASK[:, None, None], has_mask=HAS_MASK)


def features(o=OBSERVED, **options):
    return keypoint_features(o, person_frame(o), **options)


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KeypointEncoder(32, 1).eval().requires_grad_(False)


def test_what_the_vector_holds():
    got = features().vector
    assert got.shape == (6, FEATURES) == (6, 112)
    per_keypoint = got[:, :108].unflatten(1, (27, 4))
    seen = OBSERVED.confidence > 0
    assert torch.equal(per_keypoint[..., 2], OBSERVED.confidence) and torch.equal(per_keypoint[..., 3], seen.float())
    frame = person_frame(OBSERVED)
    torch.testing.assert_close(per_keypoint[..., :2][seen], frame.keypoints_plane.clamp(-3, 3)[seen])
    assert (per_keypoint[~seen] == 0).all()
    angle, known, aspect, share = got[:, 108:].T
    torch.testing.assert_close(angle, torch.log(frame.tan_half_size / 0.2) * OBSERVED.knows_camera)
    assert torch.equal(known, OBSERVED.knows_camera.float()) and torch.equal(share, seen.float().mean(1))
    sides = OBSERVED.box[:, 2:] - OBSERVED.box[:, :2]
    torch.testing.assert_close(aspect, torch.log(sides[:, 0] / sides[:, 1]), atol=1e-4, rtol=0)


def test_where_an_unseen_keypoint_was_written_does_not_matter():
    seen = OBSERVED.confidence[..., None] > 0
    other = replace(OBSERVED, keypoints=torch.where(seen, OBSERVED.keypoints, 1e5))
    assert torch.equal(features(other).vector, features().vector)


def test_outliers_are_clamped_and_thin_boxes_too():
    far = OBSERVED.keypoints.clone()
    far[:, 0] = 1e6
    o = replace(OBSERVED, keypoints=far, confidence=torch.ones(6, 27), box=torch.tensor([0.0, 0, 1, 1e4]).expand(6, 4))
    got = features(o).vector
    assert torch.isfinite(got).all() and got.abs().max() <= 10


def test_features_of_the_mirrored_photo_are_the_mirrored_features():
    a, b = features(OBSERVED, mirrored=True), features(mirrored(OBSERVED))
    torch.testing.assert_close(a.vector, b.vector, atol=2e-3, rtol=0)
    assert torch.equal(a.mask, b.mask) and torch.equal(a.has_mask, b.has_mask)


def test_mirrored_features_swap_sides():
    a, b = (
        features().vector[:, :108].unflatten(1, (27, 4)),
        features(mirrored=True).vector[:, :108].unflatten(1, (27, 4)),
    )
    torch.testing.assert_close(b[:, SWAP] * torch.tensor([-1.0, 1, 1, 1]), a)


def test_masks_of_persons_without_one_do_not_matter(encoder):
    context = encoder(features())
    scribbled = replace(OBSERVED, mask=torch.where(HAS_MASK[:, None, None], MASK, 0.7))
    torch.testing.assert_close(encoder(features(scribbled)).global_tokens, context.global_tokens)


def test_masks_matter_to_those_who_have_one(encoder):
    without = replace(OBSERVED, has_mask=torch.zeros(6, dtype=torch.bool), mask=torch.zeros(6, 48, 48))
    change = (encoder(features()).global_tokens - encoder(features(without)).global_tokens).abs().amax((1, 2))
    assert ((change > 1e-4) == HAS_MASK).all()


def test_a_person_does_not_depend_on_the_others(encoder):
    together = encoder(features())
    for k in range(6):
        alone = encoder(features(OBSERVED[k : k + 1]))
        torch.testing.assert_close(alone.global_tokens[0], together.global_tokens[k], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.betas[0], together.betas[k], atol=1e-5, rtol=0)


def test_any_leading_axes(encoder):
    flat = features()
    single, grid = flat[2], flat[torch.arange(6).view(2, 3)]
    expected = encoder(flat)
    torch.testing.assert_close(encoder(grid).betas, expected.betas.view(2, 3, 10), atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(single).global_tokens, expected.global_tokens[2], atol=1e-5, rtol=0)
    assert expected.local is None and expected[1:3].betas.shape == (2, 10)
