"""The judge: joints in space, read off the views of a ring; what checks a multi-view model, and never trains one.

    each view -> heat maps -> joints in the picture, and how sure -> least squares over the ring -> 24 joints, metres

It shares nothing with the skeleton network that rewards: residual blocks at half resolution and plain strides here, a
U-Net with full resolution there; joints here, bones there; other persons, another seed, and true renders alone. So what
pleases the reward's network for its own faults does not please this one. Each view is read by itself: a judge of all
views at once could take from the photo what a made view lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.geometry.orthographic_rays import points_from_views
from hmralign.structures import InputError
from hmralign.structures.multi_views import VIEW_CHANNELS


@dataclass(frozen=True)
class JudgeConfig:
    """Size of the judge."""

    width: int = 32
    """Channels at half resolution; twice as many at a quarter."""
    depth: int = 2
    """Residual blocks at each resolution."""

    def __post_init__(self) -> None:
        """Raise InputError for a network that cannot be built."""
        if self.width < 1 or self.depth < 1:
            raise InputError("judge: width and depth must be at least 1")


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x)


class ViewReader(nn.Module):
    """One view -> its joints in pixels, and how sure of each, from heat maps at half resolution."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.stem = nn.Conv2d(VIEW_CHANNELS, w, 6, stride=2, padding=2)
        self.fine = nn.Sequential(*(_Residual(w) for _ in range(config.depth)))
        self.coarser = nn.Conv2d(w, 2 * w, 2, stride=2)
        self.coarse = nn.Sequential(*(_Residual(2 * w) for _ in range(config.depth)))
        self.finer = nn.ConvTranspose2d(2 * w, w, 2, stride=2)
        self.heat = nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), nn.Conv2d(w, NUM_JOINTS, 1))
        self.sure = nn.Linear(2 * w, NUM_JOINTS)

    def forward(
        self, views: Float[Tensor, "*batch 4 h w"]
    ) -> tuple[Float[Tensor, "*batch 24 2"], Float[Tensor, "*batch 24"]]:
        """Pixels, and the logarithm of the standard error in pixels."""
        fine = self.fine(self.stem(views.reshape(-1, *views.shape[-3:])))
        coarse = self.coarse(self.coarser(fine))
        heat = self.heat(fine + self.finer(coarse))
        side = views.shape[-1]
        share = heat.flatten(-2).softmax(-1).unflatten(-1, heat.shape[-2:])
        centres = (torch.arange(heat.shape[-1], device=heat.device) + 0.5) * (side / heat.shape[-1]) - 0.5
        pixels = torch.stack([share.sum(-2) @ centres, share.sum(-1) @ centres], -1)
        log_error = self.sure(nn.functional.relu(coarse).mean((-2, -1))).clamp(-4, 4)
        shape = views.shape[:-3]
        return pixels.reshape(*shape, NUM_JOINTS, 2), log_error.reshape(*shape, NUM_JOINTS)


@dataclass(frozen=True)
class Judge:
    """A reader, and the ring whose views it reads."""

    reader: ViewReader
    rotations: Float[Tensor, "view 3 3"]
    """From the photo's axes to each view's."""
    pixels_per_metre: float

    @torch.no_grad()
    def __call__(self, views: Float[Tensor, "person view 4 h w"]) -> Float[Tensor, "person 24 3"]:
        """Joints in metres from the middle of the ring, in the photo's `cam` axes.

        Raises InputError for another number of views than the ring's, and for pixels that are not finite.
        """
        if views.shape[1] != len(self.rotations):
            raise InputError(f"{views.shape[1]} views are given to a judge of {len(self.rotations)}")
        if not bool(torch.isfinite(views).all()):
            raise InputError("views have pixels that are not finite; there is nothing to judge")
        parts = [self._read(some) for some in views.split(64)]
        return torch.cat(parts)

    def _read(self, views: Tensor) -> Tensor:
        pixels, log_error = self.reader(views)
        metres = (pixels - (views.shape[-1] - 1) / 2) / self.pixels_per_metre
        return points_from_views(metres, self.rotations, (-2 * log_error).exp())
