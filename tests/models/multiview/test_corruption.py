"""Faults of views: what happens to the body happens to its maps, and a seed gives the same faults."""

from dataclasses import replace

import pytest
import torch

from hmralign.models.multiview.corruption import Corruption, corrupted
from hmralign.structures import InputError
from support.synthetic_persons import seeded

NONE = Corruption(untouched=0.0, mixture=0.0, fading=0.0, blur=0.0, coarse=0.0, noise=0.0)


def both(n=16):
    """Views whose fourth channel is the only map: whatever is done to both can be compared."""
    views = torch.rand(n, 4, 16, 16, generator=seeded(0))
    return views, views[:, 3:].clone()


@pytest.mark.parametrize("fault", ["mixture", "fading", "blur", "coarse"])
def test_maps_share_the_fate_of_their_view(fault):
    views, maps = both()
    changed, deserved = corrupted(views, maps, replace(NONE, **{fault: 1.0}), seeded(1))
    assert (changed - views).abs().amax((1, 2, 3)).min() > 1e-3
    torch.testing.assert_close(changed[:, 3:], deserved)


def test_noise_leaves_the_maps_as_they_were():
    views, maps = both()
    changed, deserved = corrupted(views, maps, replace(NONE, noise=1.0), seeded(1))
    assert torch.equal(deserved, maps) and (changed - views).std() > 0.05


def test_fading_keeps_a_fifth():
    views, maps = torch.ones(200, 4, 4, 4), torch.ones(200, 1, 4, 4)
    _, deserved = corrupted(views, maps, replace(NONE, fading=1.0), seeded(2))
    assert 0.2 <= float(deserved.min()) < 0.25 and float(deserved.max()) > 0.95


def test_untouched_views_are_as_they_were_and_a_seed_gives_the_same_faults():
    views, maps = both()
    assert torch.equal(corrupted(views, maps, replace(Corruption(), untouched=1.0), seeded(3))[0], views)
    first, again = (corrupted(views, maps, Corruption(), seeded(3)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], corrupted(views, maps, Corruption(), seeded(4))[0])


@pytest.mark.parametrize("wrong", [{"untouched": 1.5}, {"most_bodies": 0}, {"blur_pixels": 0.0}, {"noise_sd": -1.0}])
def test_faults_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match="corruption"):
        Corruption(**wrong)
