"""Pixels of body parts: small patches of the crop, each laid along its part.

A patch runs from one end of a limb to the other and is as wide as limbs are for their length, so that a limb looks the
same wherever it points in the picture; what is left is what says how it points out of it: which end is wider, how it is
shaded, what covers what. Upright parts (head, torso) say which way a person faces.

The mirror image of a person has the mirrored patches of the other side, so it needs no second look at the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.geometry.cameras import apply_affine, crop_affine
from hmralign.structures import InputError, Observation, TensorRecord

LIMB_SHAPE = (32, 16)
"""Rows (along the limb) and columns of a limb's patch."""

TRUNK_SHAPE = (32, 32)
"""The same for patches of head and torso."""

_SIDED = [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")]
LIMBS = tuple(
    (KEYPOINT_NAMES.index(f"{side}_{a}"), KEYPOINT_NAMES.index(f"{side}_{b}")) for a, b in _SIDED for side in
    ("left", "right")
)  # fmt: skip
"""Keypoints at both ends of each limb, left before right."""

LIMB_JOINTS = ((16, 18), (17, 19), (18, 20), (19, 21), (1, 4), (2, 5), (4, 7), (5, 8))
"""Joints at both ends of each limb, in the same order."""

MIRROR_LIMBS = (1, 0, 3, 2, 5, 4, 7, 6)
NUM_LIMBS = len(LIMBS)
NUM_PARTS = NUM_LIMBS + 2
GEOMETRY = 4
"""Numbers per part: its direction in the picture, log of its length, whether both ends were seen."""

_SHOULDERS, _HIPS = (5, 6), (11, 12)
_SHORTEST = 0.16
"""A limb that points at the camera is looked at as if it were so long, in sides of the crop."""
_PERSONS_AT_ONCE = 512


@dataclass(frozen=True)
class PartPatches(TensorRecord):
    """What the pixel reader sees of a person. Persons without a crop have zeros, and `has_crop` 0."""

    limbs: UInt8[Tensor, "*batch 8 3 limb_h limb_w"]
    trunk: UInt8[Tensor, "*batch 2 3 trunk_h trunk_w"]
    """Head, torso."""
    geometry: Float[Tensor, "*batch 10 4"]
    has_crop: Float[Tensor, "*batch"]


def require_crops(observation: Observation) -> None:
    """Raise InputError for observations that never had pixels: the model would go on without what it is for."""
    if observation.crop is None or observation.has_crop is None:
        raise InputError(
            "this model looks at pixels, and the persons come without crops; expected photos, or a data set with "
            "pictures (`--dataset synthwild-images`)"
        )


def part_patches(observation: Observation) -> PartPatches:
    """Patches of observed persons (one batch axis). Raises InputError where nobody has a crop."""
    require_crops(observation)
    parts = [_patches(observation[i]) for i in torch.arange(len(observation.box)).split(_PERSONS_AT_ONCE)]
    return PartPatches.cat(parts) if parts else _patches(observation)


def _patches(observation: Observation) -> PartPatches:
    crop, has_crop = observation.crop, observation.has_crop
    assert crop is not None and has_crop is not None
    side = crop.shape[-1]
    A, _ = crop_affine(observation.box, side)
    keypoints, seen = apply_affine(A, observation.keypoints), observation.confidence > 0
    start, end, ok = _limb_ends(keypoints, seen)
    limbs = _along(crop, start, end, ok, _SHORTEST * side, LIMB_SHAPE, reach=(0.85, 0.425))
    neck, hips, both = _trunk_axis(keypoints, seen)
    shoulder_to_head = neck + 0.45 * (neck - hips)  # the middle of the head, in line with the trunk
    tops, bottoms = torch.stack([shoulder_to_head, neck], 1), torch.stack([neck, hips], 1)
    trunk_ok = both[:, None].expand(-1, 2)
    trunk = _along(crop, tops, bottoms, trunk_ok, _SHORTEST * side, TRUNK_SHAPE, reach=(0.9, 0.9))
    ends = torch.cat([start, tops], 1), torch.cat([end, bottoms], 1)
    geometry = _geometry(*ends, torch.cat([ok, trunk_ok], 1), side)
    return PartPatches(
        torch.where(has_crop[:, None, None, None, None], limbs, 0),
        torch.where(has_crop[:, None, None, None, None], trunk, 0),
        geometry * has_crop[:, None, None],
        has_crop.float(),
    )


def _limb_ends(
    keypoints: Float[Tensor, "n 27 2"], seen: Bool[Tensor, "n 27"]
) -> tuple[Float[Tensor, "n 8 2"], Float[Tensor, "n 8 2"], Bool[Tensor, "n 8"]]:
    first, second = [a for a, _ in LIMBS], [b for _, b in LIMBS]
    return keypoints[:, first], keypoints[:, second], seen[:, first] & seen[:, second]


def _trunk_axis(
    keypoints: Float[Tensor, "n 27 2"], seen: Bool[Tensor, "n 27"]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"], Bool[Tensor, " n"]]:
    """Middle of the shoulders, middle of the hips, and whether all four are seen."""
    shoulders, hips = keypoints[:, list(_SHOULDERS)].mean(1), keypoints[:, list(_HIPS)].mean(1)
    return shoulders, hips, seen[:, [*_SHOULDERS, *_HIPS]].all(-1)


def _along(
    crop: UInt8[Tensor, "n 3 side side"],
    start: Float[Tensor, "n part 2"],
    end: Float[Tensor, "n part 2"],
    ok: Bool[Tensor, "n part"],
    shortest: float,
    shape: tuple[int, int],
    reach: tuple[float, float],
) -> UInt8[Tensor, "n part 3 h w"]:
    """Patches about the middle of each part, rows along it; `reach` are half the sides in lengths of the part."""
    n, parts = start.shape[:2]
    offset = end - start
    length = offset.norm(dim=-1, keepdim=True)
    along = torch.where(length > 1e-3, offset / length.clamp(min=1e-3), offset.new_tensor([0.0, 1.0]))
    across = torch.stack([-along[..., 1], along[..., 0]], dim=-1)
    scale = length.clamp(min=shortest)[..., None, None]  # (n, part, 1, 1, 1)
    rows = torch.linspace(-reach[0], reach[0], shape[0])[:, None, None]
    columns = torch.linspace(-reach[1], reach[1], shape[1])[:, None]
    place = (start + end)[:, :, None, None] / 2 + scale * (
        rows * along[:, :, None, None] + columns * across[:, :, None, None]
    )  # (n, part, h, w, 2)
    grid = (place * 2 / (crop.shape[-1] - 1) - 1).view(n, parts * shape[0], shape[1], 2)
    looked_up = grid_sample(crop.float(), grid, align_corners=True).view(n, 3, parts, *shape)
    patches = looked_up.round().to(torch.uint8).transpose(1, 2)
    return torch.where(ok[:, :, None, None, None], patches, 0)


def _geometry(
    start: Float[Tensor, "n part 2"], end: Float[Tensor, "n part 2"], ok: Bool[Tensor, "n part"], side: int
) -> Float[Tensor, "n part 4"]:
    offset = (end - start) / side
    length = offset.norm(dim=-1, keepdim=True)
    direction = offset / length.clamp(min=1e-3)
    scale = (length.clamp(min=0.02) / 0.2).log()
    return torch.cat([direction, scale, torch.ones_like(scale)], dim=-1) * ok[..., None]


def mirrored_patches(patches: PartPatches) -> PartPatches:
    """The patches of the mirror image."""
    limbs = patches.limbs[..., list(MIRROR_LIMBS), :, :, :].flip(-1)
    swapped = patches.geometry[..., [*MIRROR_LIMBS, NUM_LIMBS, NUM_LIMBS + 1], :]
    turned = swapped * swapped.new_tensor([-1.0, 1.0, 1.0, 1.0])
    return PartPatches(limbs, patches.trunk.flip(-1), turned, patches.has_crop)
