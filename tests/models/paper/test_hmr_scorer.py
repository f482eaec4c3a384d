"""HMR-Scorer: its crop, its encoder, and what its scores depend on."""

from dataclasses import replace

import torch

from hmralign.models.paper.config import Quirks
from hmralign.models.paper.hmr_scorer import (
    HmrScorer,
    HmrScorerConfig,
    joints_on_canvas,
    shrunk,
    square_on_canvas,
    unit_score,
)
from hmralign.models.paper.vit import VisionTransformer, VitConfig
from support.synthetic_persons import seeded
from support.tiny_paper import speaking

TINY_VIT = VitConfig(height=64, image_width=48, patch=16, channels=32, depth=2, heads=4, task_tokens=3)
TINY = HmrScorerConfig(
    encoder=TINY_VIT, width=64, heads=4, feedforward=64, hops=(3, 1), score_width=128, last_width=8, dropout=0.1,
    start_dropout=0.25,
)  # fmt: skip
CANVAS = torch.rand(2, 3, 128, 96, generator=seeded(0))
JOINTS = torch.rand(2, 3, 29, 3, generator=seeded(1)) * 1.6 - 0.8


def scorer(config: HmrScorerConfig = TINY) -> HmrScorer:
    return speaking(HmrScorer(config))


SCORES = scorer()(CANVAS, JOINTS)


def test_scores_are_of_each_hypothesis_and_between_0_and_1_after_a_sigmoid():
    assert SCORES.shape == (2, 3) and SCORES.std() > 1e-4
    torch.testing.assert_close(scorer()(CANVAS[1:], JOINTS[1:, 1:])[0, 1], SCORES[1, 2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(unit_score(SCORES), 1 / (1 + (-5 * SCORES).exp()))


def test_it_sees_depth_joints_and_the_picture():
    deeper = JOINTS.clone()
    deeper[..., 2] += 0.2
    assert (scorer()(CANVAS, deeper) - SCORES).abs().max() > 1e-4
    assert (scorer()(CANVAS.flip(0), JOINTS) - SCORES).abs().max() > 1e-4


def test_shrinking_takes_every_second_pixel_or_the_mean():
    small = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert torch.equal(shrunk(small, nearest=True)[0, 0], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))
    assert torch.equal(shrunk(small, nearest=False)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    own = scorer(replace(TINY, quirks=replace(Quirks(), nearest_shrink=False)))
    assert (own(CANVAS, JOINTS) - SCORES).abs().max() > 1e-4


def test_task_tokens_change_the_patches_and_are_not_among_them():
    encoder = speaking(VisionTransformer(TINY_VIT))
    image = torch.rand(2, 3, *(TINY_VIT.height, TINY_VIT.image_width), generator=seeded(2))
    found = encoder(image)
    assert found.shape == (2, 32, *TINY_VIT.grid) == (2, 32, 4, 3)
    with torch.no_grad():
        encoder.task_tokens += torch.randn(encoder.task_tokens.shape, generator=seeded(3))
    assert (encoder(image) - found).abs().max() > 1e-3


def test_the_first_position_is_added_to_every_patch():
    encoder = speaking(VisionTransformer(TINY_VIT))
    image = torch.rand(1, 3, 64, 48, generator=seeded(2))
    found = encoder(image)
    shift = torch.randn(32, generator=seeded(4))
    with torch.no_grad():
        encoder.pos_embed[:, 0] += shift
        encoder.pos_embed[:, 1:] -= shift
    torch.testing.assert_close(encoder(image), found, atol=1e-5, rtol=1e-4)


def test_a_square_lies_in_the_middle_of_the_canvas_with_its_joints():
    square = torch.zeros(1, 3, 256, 256)
    square[..., 100:104, 40:44] = 1.0  # middle at 102, 42 of 256
    canvas = square_on_canvas(square)
    assert canvas.shape == (1, 3, 512, 384) and not canvas[..., :64, :].any() and not canvas[..., -64:, :].any()
    rows, columns = (canvas[0, 0] > 0.5).nonzero(as_tuple=True)
    at = torch.tensor([[2 * 42 / 256 - 1, 2 * 102 / 256 - 1, 0.3]])
    placed = joints_on_canvas(at, truncated=False)[0]
    torch.testing.assert_close((placed[0] + 1) / 2 * 384, columns.float().mean() + 0.5, atol=0.3, rtol=0)
    torch.testing.assert_close((placed[1] + 1) / 2 * 512, rows.float().mean() + 0.5, atol=0.3, rtol=0)
    assert placed[2] == at[0, 2]


def test_truncated_pixels_are_whole_and_at_most_one_off():
    exact, cut = joints_on_canvas(JOINTS, truncated=False), joints_on_canvas(JOINTS, truncated=True)
    pixels = (cut[..., :2] + 1) / 2 * torch.tensor([384.0, 512.0])
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)
    moved = (exact - cut)[..., :2] / 2 * torch.tensor([384.0, 512.0])
    assert moved.min() > -1e-3 and 0.3 < moved.max() < 1
    assert torch.equal(exact[..., 2], cut[..., 2])


def test_at_full_size():
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        found = HmrScorer(HmrScorerConfig()).eval()(torch.rand(1, 3, 512, 384), torch.rand(1, 4, 29, 3) - 0.5)
    assert found.shape == (1, 4) and torch.isfinite(found).all() and found.std() > 0
