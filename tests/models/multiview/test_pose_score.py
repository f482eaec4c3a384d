"""PoseScore: best for the true maps, differentiable, the same person by person, and not for views that do not fit."""

import pytest
import torch

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.models.multiview.pose_score import PoseScore
from hmralign.models.multiview.skeleton_maps import NUM_BONES, skeleton_maps
from hmralign.models.multiview.skeleton_network import MapFeatures, SkeletonNetwork, SkeletonNetworkConfig
from hmralign.structures import InputError
from support.synthetic_persons import seeded

SMALL = SkeletonNetworkConfig(width=8, feature_width=8)


def score(weight=0.1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = SkeletonNetwork(SMALL).double().eval(), MapFeatures(SMALL).double().eval()
    return PoseScore(*(n.requires_grad_(False) for n in networks), perceptual_weight=weight)


def target(n=2, size=8):
    return skeleton_maps(size * torch.rand(n, 2, NUM_JOINTS, 2, generator=seeded(1)), size).double()


def views(n=2, size=8):
    return torch.randn(n, 2, 4, size, size, generator=seeded(2)).double()


class Says(SkeletonNetwork):
    """A network that has the maps from elsewhere."""

    def __init__(self, maps):
        super().__init__(SMALL)
        self.maps = maps

    def forward(self, views):
        return torch.logit(self.maps, eps=1e-9)


def test_true_maps_have_the_score_0_and_all_others_less():
    maps = target()
    for weight in (0.0, 0.1):
        perfect = PoseScore(Says(maps), score().features, weight)
        assert perfect(views(), maps).abs().max() < 1e-5
        wrong = PoseScore(Says(maps.flip(-1)), score().features, weight)
        assert (wrong(views(), maps) < -0.01).all() and (score(weight)(views(), maps) < -0.01).all()


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_its_gradient_is_that_of_finite_differences(weight):
    x, maps, of = views(1).requires_grad_(True), target(1), score(weight)
    assert torch.autograd.gradcheck(lambda v: of(v, maps), x, atol=1e-6, rtol=1e-3)
    of(x, maps).sum().backward()
    assert x.grad.abs().max() > 1e-8


def test_a_persons_score_depends_on_nobody_else():
    x, maps, of = views(3), target(3), score()
    torch.testing.assert_close(of(x, maps)[1:2], of(x[1:2], maps[1:2]))
    assert of(x, maps).shape == (3,)


def test_the_terms_are_the_score():
    x, maps, of = views(), target(), score(0.5)
    bce, perceptual = of.terms(x, maps)
    torch.testing.assert_close(of(x, maps), -(bce + 0.5 * perceptual).mean(-1))
    assert (bce >= 0).all() and (perceptual >= 0).all() and bce.shape == (2, 2)


def test_views_that_do_not_fit_or_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not of the same views"):
        score()(views(2), target(3))
    with pytest.raises(InputError, match="not finite"):
        score()(views() * float("nan"), target())


def test_maps_have_the_size_of_their_view_and_a_batch_of_any_axes():
    network = score().network
    assert network(views()).shape == (2, 2, NUM_BONES, 8, 8)
    torch.testing.assert_close(network(views())[1, 0], network(views()[1, 0]))
    with pytest.raises(InputError, match="multiples of 8"):
        SkeletonNetworkConfig(width=12)
