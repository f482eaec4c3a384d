"""Motions for tests of files: any rotations, also across the places where Euler angles and quaternions jump."""

import torch

from hmralign.export.motion import Motion
from hmralign.geometry.rotations import random_rotmat, rotvec_to_rotmat


def example_motion(frames: int = 6, seed: int = 0, fps: float = 30.0, frame="cam") -> Motion:
    """A smooth motion that starts at any rotations."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn((frames, 24, 3), generator=generator) * 0.25
    steps[0] = 0
    rotmats = rotvec_to_rotmat(steps.cumsum(0)) @ random_rotmat((24,), generator)
    transl = torch.tensor([0.3, -0.2, 4.0]) + 0.05 * torch.randn((frames, 3), generator=generator).cumsum(0)
    return Motion(rotmats, transl, torch.randn(10, generator=generator), fps, frame)


def upright(points: torch.Tensor) -> torch.Tensor:
    """Points of the `cam` frame in the axes of the files, by hand."""
    return torch.stack([points[..., 0], -points[..., 1], -points[..., 2]], dim=-1)
