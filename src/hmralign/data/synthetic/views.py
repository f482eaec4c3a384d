"""Cameras that look at synthetic persons: lens, pitch and roll, distance, place in the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import axis_rotmat
from hmralign.geometry.swing_twist import swing_between


@dataclass(frozen=True)
class ViewMix:
    """Ranges of the views. Focal lengths are in image diagonals, angles in degrees, sizes in image heights."""

    focal: tuple[float, float] = (0.55, 2.5)
    """Log-uniform; 0.55 is a wide phone lens, 2.5 a telephoto."""
    pitch_sd: float = 12.0
    """Most cameras look about level ..."""
    steep_share: float = 0.15
    """... and this share looks from anywhere between -50 and 80 degrees (positive: from above)."""
    roll_sd: float = 5.0
    height: tuple[float, float] = (0.2, 1.3)
    """Apparent size of a standing 1.7 m person; above about 0.9 parts leave the image."""
    place_sd: float = 0.22
    """Spread of the pelvis about the middle of the image, in image sizes."""
    min_distance: float = 0.8
    """Metres; nearer than this a body would touch the lens."""


@dataclass(frozen=True)
class Views:
    """One camera and one place per person."""

    K: Float[Tensor, "n 3 3"]
    width: Float[Tensor, " n"]
    height: Float[Tensor, " n"]
    global_orient: Float[Tensor, "n 3 3"]
    transl: Float[Tensor, "n 3"]
    pitch: Float[Tensor, " n"]
    """Radians below the horizon that the camera looks; 0 is level."""


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Float[Tensor, " n"]:
    return low + (high - low) * torch.rand(n, generator=generator)


def _cameras(n: int, mix: ViewMix, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Intrinsics of images of 1000 pixels on the long side, landscape or portrait."""
    short = 1000 * _uniform(n, 0.56, 1.0, generator)
    landscape = torch.rand(n, generator=generator) < 0.6
    width = torch.where(landscape, 1000.0, short)
    height = torch.where(landscape, short, 1000.0)
    focal = torch.exp(_uniform(n, math.log(mix.focal[0]), math.log(mix.focal[1]), generator))
    K = torch.zeros(n, 3, 3)
    K[:, 0, 0] = K[:, 1, 1] = focal * torch.hypot(width, height)
    K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = (width - 1) / 2, (height - 1) / 2, 1.0
    return K, width, height


def sample_views(up_in_pelvis: Float[Tensor, "n 3"], mix: ViewMix, generator: torch.Generator) -> Views:
    """Look at persons whose up direction is given; yaw is uniform."""
    n = len(up_in_pelvis)
    K, width, height = _cameras(n, mix, generator)
    pitch = math.radians(mix.pitch_sd) * torch.randn(n, generator=generator) + math.radians(5)
    steep = torch.rand(n, generator=generator) < mix.steep_share
    pitch = torch.where(steep, _uniform(n, math.radians(-50), math.radians(80), generator), pitch)
    roll = math.radians(mix.roll_sd) * torch.randn(n, generator=generator)
    yaw = _uniform(n, -math.pi, math.pi, generator)
    y_axis = torch.tensor([0.0, 1.0, 0.0]).expand(n, 3)
    upright = axis_rotmat("y", yaw) @ swing_between(up_in_pelvis, y_axis)
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # world (y up) to a level camera (y down)
    R_cam_world = axis_rotmat("z", roll) @ axis_rotmat("x", pitch) @ half_turn

    size = torch.exp(_uniform(n, math.log(mix.height[0]), math.log(mix.height[1]), generator))
    depth = (1.7 * K[:, 1, 1] / (size * height)).clamp(min=mix.min_distance)
    place = torch.stack([width, height], 1) * (0.5 + mix.place_sd * torch.randn(n, 2, generator=generator)).clamp(
        -0.1, 1.1
    )
    ray = torch.cat([(place - K[:, :2, 2]) / K[:, 0, :1], torch.ones(n, 1)], dim=1)
    return Views(K, width, height, R_cam_world @ upright, ray * depth[:, None], pitch)
