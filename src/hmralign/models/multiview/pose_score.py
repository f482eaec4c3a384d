"""PoseScore: how well the bones that are seen in views lie where a known pose has them. Differentiable in the views.

    score = -(BCE(maps, target) - BCE(target, target) + w |features(maps) - features(target)|^2)

Source: DrPose, whose reward is minus the sum of BCE and LPIPS between the maps that a frozen network reads off the
views and the maps of the true joints. Two departures: targets are soft lines, whose BCE with themselves is not 0, and
this floor is taken off, so that 0 is the best score; and the perceptual term compares features of `MapFeatures`,
normalised over channels as in LPIPS (Zhang et al. 2018, eq. 1). w = 0 is the ablation by BCE alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.models.multiview.skeleton_network import MapFeatures, SkeletonNetwork
from hmralign.structures import InputError

_EPS = 1e-6


@dataclass(frozen=True)
class PoseScore:
    """The frozen networks, and how their terms are weighed."""

    network: SkeletonNetwork
    features: MapFeatures
    perceptual_weight: float = 0.1
    """w. At 0.1 the two terms are of one size on views of a wrong body."""

    def __call__(
        self, views: Float[Tensor, "*person view 4 h w"], target: Float[Tensor, "*same view 23 h_map w_map"]
    ) -> Float[Tensor, "*person"]:
        """At most 0, the higher the better: nats per pixel and bone, plus w times the distance of features.

        Raises InputError where views and maps are not of one size, and for views that are not finite.
        """
        bce, perceptual = self.terms(views, target)
        return -(bce + self.perceptual_weight * perceptual).mean(-1)

    def terms(
        self, views: Float[Tensor, "*person view 4 h w"], target: Float[Tensor, "*same view 23 h_map w_map"]
    ) -> tuple[Float[Tensor, "*person view"], Float[Tensor, "*person view"]]:
        """BCE without its floor, and the perceptual distance, for each view; both at least 0. Errors as the score."""
        if views.shape[:-3] != target.shape[:-3] or views.shape[-2:] != target.shape[-2:]:
            raise InputError(
                f"views of shape {tuple(views.shape)} and maps of shape {tuple(target.shape)} are not of the same views"
            )
        if not bool(torch.isfinite(views).all()):
            raise InputError("views have pixels that are not finite; they have no PoseScore")
        logits = self.network(views)
        bce = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        floor = nn.functional.binary_cross_entropy(target, target, reduction="none")
        excess = (bce - floor).mean((-3, -2, -1))
        if self.perceptual_weight == 0:
            return excess, torch.zeros_like(excess)
        return excess, self._distance(logits.sigmoid(), target)

    def _distance(self, maps: Tensor, target: Tensor) -> Float[Tensor, "*person view"]:
        total = torch.zeros(maps.shape[:-3].numel(), dtype=maps.dtype, device=maps.device)
        for ours, theirs in zip(self.features(maps), self.features(target), strict=True):
            total = total + (_unit(ours) - _unit(theirs)).square().sum(1).mean((-2, -1))
        return total.reshape(maps.shape[:-3])


def _unit(features: Float[Tensor, "n channel h w"]) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + _EPS).sqrt()
