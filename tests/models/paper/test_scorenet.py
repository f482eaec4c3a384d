"""ScoreNet: scores depend on the hypothesis, on the picture at its joints, and on its quirks."""

import pytest
import torch

from hmralign.models.paper.config import HYPONET, PaperConfig
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.scorenet import ScoreNet
from support.synthetic_persons import seeded
from support.tiny_paper import TINY_PAPER, speaking, with_quirks

ENCODER = speaking(ImageEncoder(TINY_PAPER, shape_head=False), 64, 64)
FEATURES = ENCODER(torch.randn(2, 3, 64, 64, generator=seeded(0)))
UNIT = torch.rand(2, 3, 133, generator=seeded(1)) * 1.6 - 0.8


def net(config: PaperConfig = TINY_PAPER) -> ScoreNet:
    return speaking(ScoreNet(config))


SCORES = net()(UNIT, FEATURES)


def test_each_hypothesis_has_a_score_of_its_own():
    assert SCORES.shape == (2, 3) and SCORES.std() > 1e-3
    torch.testing.assert_close(net()(UNIT[1:, 2:], FEATURES[1:])[0, 0], SCORES[1, 2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("place", [0, 2, 86, 87, 132])
def test_every_number_of_a_hypothesis_counts(place):
    other = UNIT.clone()
    other[..., place] += 0.2
    assert (net()(other, FEATURES) - SCORES).abs().max() > 1e-4


def test_the_picture_is_seen_at_the_joints_and_as_a_whole():
    for part in ("fine", "coarse"):
        features = type(FEATURES)(**{**vars(FEATURES), part: getattr(FEATURES, part).flip(0)})
        assert (net()(UNIT, features) - SCORES).abs().max() > 1e-3


def test_twists_are_seen_as_sampled_or_on_the_circle():
    longer = torch.cat([UNIT[..., :87], 2 * UNIT[..., 87:]], dim=-1)
    own = net(with_quirks(raw_twists=False))
    torch.testing.assert_close(own(longer, FEATURES), own(UNIT, FEATURES), atol=1e-5, rtol=1e-4)
    assert (net()(longer, FEATURES) - SCORES).abs().max() > 1e-3
    assert (own(UNIT, FEATURES) - SCORES).abs().max() > 1e-4


def test_swapped_middles_change_scores():
    assert (net(with_quirks(swapped_midpoints=False))(UNIT, FEATURES) - SCORES).abs().max() > 1e-4


def test_at_full_size():
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        encoder, score = ImageEncoder(HYPONET, shape_head=False).eval(), ScoreNet(HYPONET).eval()
        found = score(torch.rand(1, 4, 133, generator=seeded(1)), encoder(torch.randn(1, 3, 256, 256)))
    assert found.shape == (1, 4) and torch.isfinite(found).all() and found.std() > 0
