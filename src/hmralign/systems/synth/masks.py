"""Low-resolution person masks of synthetic persons: rendered, then spoilt the way real ones are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from hmralign.body.lbs import vertices_from_fk
from hmralign.body.model import BodyModel
from hmralign.critics import silhouette
from hmralign.data.keypoint_box import MIN_CONFIDENCE
from hmralign.data.synthetic.generator import SeenBody
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.rendering.scenes.crops import JOINT_NEAR
from hmralign.structures import MASK_SIZE, Example

_FINE = 2 * MASK_SIZE
_AT_ONCE = 500
"""Bodies rendered together: bounds the memory of their vertices."""


@dataclass(frozen=True)
class MaskNoise:
    """How masks differ from silhouettes. Probabilities per person."""

    grow: float = 0.5
    """Clothes and hair: the silhouette grows by one fine cell (about 0.6 % of the crop), half of them twice."""
    shrink: float = 0.15
    """The segmenter cuts thin parts."""
    hide: float = 0.7
    """Where keypoints are hidden, the mask is hidden around them too."""
    intruder: float = 0.12
    """Somebody else's silhouette is taken in."""


def crop_silhouettes(body: BodyModel, example: Example, seen: SeenBody | None = None) -> Bool[Tensor, "n fine fine"]:
    """Silhouettes in the mask's crop, at twice its resolution, of the bodies as observed (None: as annotated)."""
    assert example.annotation is not None
    observation, params = example.observation, example.annotation.body
    if seen is None:
        return silhouette.crop_silhouettes(body, params, observation.box, observation.K)
    mesh = vertices_from_fk(body, params.betas, params.body_pose, seen.global_rotmats, seen.joints)
    return silhouette.crop_silhouettes_of(mesh, body.faces, observation.box, observation.K)


def spoil(
    silhouettes: Bool[Tensor, "n fine fine"],
    example: Example,
    joints: Float[Tensor, "n joints 3"],
    image_size: Float[Tensor, "n 2"],
    noise: MaskNoise,
    generator: torch.Generator,
) -> Float[Tensor, "n mask_h mask_w"]:
    """Masks as a segmenter might give them, cut at the image border; holes are where `joints` are not seen."""
    mask = silhouettes.float()
    n = len(mask)

    def draw(p: float) -> Bool[Tensor, " n 1 1"]:
        return (torch.rand(n, generator=generator) < p)[:, None, None]

    intruder = torch.roll(mask, 1, dims=0).roll(int(torch.randint(-30, 30, (1,), generator=generator)), dims=2)
    mask = torch.where(draw(noise.intruder), torch.maximum(mask, intruder), mask)
    for p in (noise.grow, noise.grow / 2):
        mask = torch.where(draw(p), max_pool2d(mask[:, None], 3, 1, 1)[:, 0], mask)
    mask = torch.where(draw(noise.shrink), -max_pool2d(-mask[:, None], 3, 1, 1)[:, 0], mask)
    mask = mask * ~(_hidden_cells(example, joints) & draw(noise.hide))
    return avg_pool2d((mask * _inside_image(example, image_size))[:, None], 2)[:, 0]


def drawn_masks(
    body: BodyModel,
    example: Example,
    seen: SeenBody,
    noise: MaskNoise,
    generator: torch.Generator,
    device: str | torch.device = "cpu",
    holes: Literal["annotated", "observed"] = "annotated",
) -> Float[Tensor, "n mask_h mask_w"]:
    """Masks of bodies as they were observed; image sizes are twice the principal point, as the generator makes them.

    Silhouettes are drawn on `device`; masks are on the CPU. `holes` says whose joints are hidden: those of the
    annotation, which has no stretched limbs (training and SynthWild v1 are so), or those that were observed.
    """
    parts, drawn = [], body.to(device)
    for index in torch.arange(len(example.observation.box)).split(_AT_ONCE):
        part = example[index]
        image_size = 2 * part.observation.K[:, :2, 2] + 1
        silhouettes = crop_silhouettes(drawn, part.to(device), seen[index].to(device)).cpu()
        assert part.annotation is not None
        joints = seen[index].joints if holes == "observed" else part.annotation.joints
        parts.append(spoil(silhouettes, part, joints, image_size, noise, generator))
    return torch.cat(parts)


def _cell_pixels(example: Example, size: int) -> Float[Tensor, "n cells 2"]:
    """Image pixels of the centres of the crop's size x size cells."""
    _, back = crop_affine(example.observation.box, size)
    grid = torch.arange(size, dtype=torch.float32)
    cells = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), dim=-1).flatten(0, 1)
    return apply_affine(back, cells.expand(len(back), -1, 2))


def _hidden_cells(example: Example, joints: Float[Tensor, "n joints 3"]) -> Bool[Tensor, "n fine fine"]:
    """Cells whose nearest joint belongs to a hidden keypoint."""
    keypoints, near = list(JOINT_NEAR), list(JOINT_NEAR.values())
    places = project(joints[:, near], example.observation.K)
    nearest = torch.cdist(_cell_pixels(example, MASK_SIZE), places).argmin(-1)
    hidden = example.observation.confidence[:, keypoints] <= MIN_CONFIDENCE
    coarse = hidden.gather(1, nearest).unflatten(1, (MASK_SIZE, MASK_SIZE))
    return coarse.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def _inside_image(example: Example, image_size: Float[Tensor, "n 2"]) -> Bool[Tensor, "n fine fine"]:
    pixels = _cell_pixels(example, _FINE)
    inside = (pixels > -0.5).all(-1) & (pixels < image_size[:, None] - 0.5).all(-1)
    return inside.unflatten(1, (_FINE, _FINE))
