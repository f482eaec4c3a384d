"""The image encoder at tiny and at full size: its maps, where features are read, its quirks."""

import torch

from hmralign.models.paper.config import HYPONET
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.local_features import sample_map
from support.synthetic_persons import seeded
from support.tiny_paper import TINY_PAPER, speaking, tiny_paper, with_quirks

ENCODER = tiny_paper().encoder
IMAGE = torch.randn(2, 3, 64, 64, generator=seeded(0))


def test_maps_have_their_sizes_and_shapes_come_from_the_mean_shape():
    found = ENCODER(IMAGE)
    assert found.coarse.shape == (2, 64, 2, 2) and found.fine.shape == (2, 32, 16, 16)
    assert found.joints.shape == (2, 29, 2) and found.joints.abs().max() <= 1
    moved = ImageEncoder(TINY_PAPER)
    moved.load_state_dict({**ENCODER.state_dict(), "init_shape": ENCODER.init_shape + 1})
    torch.testing.assert_close(moved.eval()(IMAGE).betas, found.betas + 1)
    assert ImageEncoder(TINY_PAPER, shape_head=False).eval()(IMAGE).betas is None


def test_the_context_is_read_where_the_heatmaps_say():
    found, context = ENCODER(IMAGE), ENCODER.context(IMAGE)
    torch.testing.assert_close(context.local[:, :29], sample_map(found.fine, found.joints))
    torch.testing.assert_close(context.global_tokens[1, 3], found.coarse[1, :, 1, 1])
    assert torch.equal(context.betas, found.betas)
    assert found.joints.std(1).min() > 0.02, "joints lie apart, so that it matters where is read"


def test_a_picture_does_not_change_what_is_seen_in_another():
    # Random weights and the sharpness of heatmaps make much of the last digit of a convolution.
    torch.testing.assert_close(ENCODER.context(IMAGE[1:]).local, ENCODER.context(IMAGE).local[1:], atol=2e-3, rtol=0)


def test_swapped_middles_change_the_features_of_twists_alone():
    plain = speaking(ImageEncoder(with_quirks(swapped_midpoints=False)), 64, 64)
    ours, theirs = plain.context(IMAGE).local, ENCODER.context(IMAGE).local
    assert plain.quirks.swapped_midpoints is False
    assert torch.equal(ours[:, :29], theirs[:, :29])
    assert (ours[:, 29:] - theirs[:, 29:]).abs().amax((1, 2)).min() > 0.05


def test_the_corner_of_the_heatmap_moves_all_joints():
    plain = speaking(ImageEncoder(with_quirks(corner_heatmap=False)), 64, 64)
    ours, theirs = plain(IMAGE).joints, ENCODER(IMAGE).joints
    torch.testing.assert_close((ours + 1) * 15, (theirs + 1) * 16)


def test_every_convolution_matters():
    """Without that, a branch could be left out unseen."""
    names = [name for name, _ in ENCODER.named_modules() if isinstance(_, torch.nn.Conv2d)]
    base = ENCODER(IMAGE)
    copy = ImageEncoder(TINY_PAPER).eval()
    for name in names:
        state = {**ENCODER.state_dict(), f"{name}.weight": torch.zeros_like(ENCODER.state_dict()[f"{name}.weight"])}
        copy.load_state_dict(state)
        found = copy(IMAGE)
        moved = max(
            (found.coarse - base.coarse).abs().max(), (found.fine - base.fine).abs().max(),
            (found.joints - base.joints).abs().max(), (found.betas - base.betas).abs().max(),
        )  # fmt: skip
        assert moved > 1e-5, name


def test_at_full_size():
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        encoder = ImageEncoder(HYPONET).eval()
        found = encoder(torch.randn(1, 3, 256, 256, generator=seeded(1)))
    assert found.coarse.shape == (1, 512, 8, 8) and found.fine.shape == (1, 256, 64, 64)
    assert found.joints.shape == (1, 29, 2) and found.betas.shape == (1, 10)
    assert all(torch.isfinite(part).all() for part in found.tensors().values())
