"""What kind of mistake a hypothesis makes in each segment, measured against the truth.

A segment's direction is wrong when it is `WRONG` (30 degrees) off. A kind explains it when undoing the kind leaves less
than `WRONG` and at most half of the angle. The explanation that covers more of the body comes first:

| kind | what is measured | undone by |
| --- | --- | --- |
| orientation | pelvis and chest turned by `TURN` (40 degrees) about the trunk, or the trunk `AWAY` (60) off | turning |
| sides exchanged | both arms, or legs, as the truth has them on the other side, or in the mirror | exchanging |
| depth flip | direction in the picture agrees, depth has the other sign | reflecting the segment in depth |
| twist | direction agrees, but turned by `TURN` or more about it | turning it back, with what hangs on it |
| hidden | direction wrong, none of the above, and a joint of it was not observed | |
| tilt | observed; direction in the picture agrees, depth has the wrong amount | tilting the segment in depth |
| in the image | observed, and the direction in the picture is wrong | |
| small | direction right and not turned | |

1. The trunk first: depth flip, orientation, wrong direction, twist (of pelvis or chest about its axis).
2. What hangs on a segment and is right relative to it makes no mistake of its own: it has the kind of the carrier, of
   the trunk before the others.
3. Sides exchanged: the angles of both upper and lower segments fall to two thirds in sum, and on either side a wrong
   segment is explained. Seen from the front, exchanged legs of a walking person are depth flips too; one mistake rather
   than four is what counts.
4. Depth flip before a twist of the carrier: a forearm turned about an upper arm that lies in the picture is both, and
   the flip says what a picture cannot show.

The ray to the true start of a segment is what depth is measured along. Everything is in the `cam` frame; where a body
stands and how large it is does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.evaluation.mistakes.segments import NUMBER, SEGMENTS
from hmralign.geometry.rotations import rotmat_angle
from hmralign.geometry.swing_twist import decompose
from hmralign.structures import Annotation, BodyParams, Hypotheses, InputError
from hmralign.structures.counted import counted

WRONG = math.radians(30)
"""A direction this far off is wrong."""
TURN = math.radians(40)
"""A turn about the own direction that counts."""
AWAY = math.radians(60)
"""A trunk whose axis is this far off lies elsewhere."""

KINDS = ("small", "orientation", "sides exchanged", "depth flip", "twist", "hidden", "tilt", "in the image")
"""Names of the numbers that `mistakes` gives."""
SMALL, ORIENTATION, EXCHANGED, FLIP, TWIST, HIDDEN, TILT, IMAGE = range(len(KINDS))

_PELVIS, _CHEST = 0, JOINT_NAMES.index("spine3")
_PAIRS = (("upper arm", "forearm", _CHEST), ("thigh", "shin", _PELVIS))


@dataclass(frozen=True)
class _Posed:
    """Directions of the segments (unit) and global rotations of the joints."""

    direction: Float[Tensor, "*batch 14 3"]
    rotmats: Float[Tensor, "*batch 24 3 3"]


def _posed(body: BodyModel, params: BodyParams, joints: Float[Tensor, "*batch joints 3"]) -> _Posed:
    rotmats, _ = forward_kinematics(rest_joints(body, params.betas), params.rotmats, body.parents)
    start, end = ([getattr(s, side) for s in SEGMENTS] for side in ("start", "end"))
    return _Posed(torch.nn.functional.normalize(joints[..., end, :] - joints[..., start, :], dim=-1), rotmats)


@torch.no_grad()
def mistakes(
    body: BodyModel, hypotheses: Hypotheses, truth: Annotation, hidden: Bool[Tensor, "person 14"]
) -> Int[Tensor, "person hyp 14"]:
    """Kind of each segment of each hypothesis, numbers of `KINDS`.

    `hidden` are the segments whose direction was not observed. Raises InputError where the persons are not the same.
    """
    if hypotheses.joints.shape[0] != len(truth.joints) or len(hidden) != len(truth.joints):
        counts = (
            f"{counted(hypotheses.joints.shape[0], 'group')}, {counted(len(truth.joints), 'truth')}, "
            f"{counted(len(hidden), 'row')} of visibility"
        )
        raise InputError(f"mistakes: {counts}; expected one of each per person")
    guess = _posed(body, hypotheses.body, hypotheses.joints)
    true = _posed(body, truth.body, truth.joints)
    true = _Posed(true.direction[:, None], true.rotmats[:, None])  # (B, 1, 14, 3)
    rays = torch.nn.functional.normalize(truth.joints[:, [s.start for s in SEGMENTS]], dim=-1)[:, None]
    off = angle(guess.direction, true.direction)  # (B, N, 14)
    seen = torch.where(_undone(_off_any_tilt(guess.direction, true.direction, rays), off), TILT, IMAGE)
    unexplained = torch.where(hidden[:, None], HIDDEN, seen)
    flipped = _undone(angle(_reflected(guess.direction, rays), true.direction), off)
    exchanged = _exchanged(guess, true, off)
    kinds = [_trunk(guess, true, off[..., 0], flipped[..., 0], unexplained[..., 0])]
    for number in range(1, len(SEGMENTS)):
        kinds.append(_limb(number, kinds, guess, true, off, flipped, exchanged, unexplained))
    return torch.stack(kinds, dim=-1)


def angle(a: Float[Tensor, "*#batch 3"], b: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*#batch"]:
    """Angle between directions, radians; exact for small ones."""
    a, b = torch.broadcast_tensors(a, b)
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))


def _undone(after: Tensor, before: Tensor) -> Tensor:
    """Whether an explanation holds: the direction was wrong, and without the mistake it is right."""
    return (before >= WRONG) & (after < WRONG) & (after <= before / 2)


def _reflected(direction: Tensor, ray: Tensor) -> Tensor:
    return direction - 2 * (direction * ray).sum(-1, keepdim=True) * ray


def _off_any_tilt(guess: Tensor, true: Tensor, ray: Tensor) -> Tensor:
    """Angle of the true direction to the nearest one that looks like the guess up to length: a half-plane."""
    across = torch.nn.functional.normalize(guess - (guess * ray).sum(-1, keepdim=True) * ray, dim=-1)
    deep, sideways = (true * ray).sum(-1), (true * across).sum(-1)
    # Beyond the half-plane's edge, which is the ray, the nearest direction is along the ray.
    return torch.atan2(
        (1 - deep.square() - sideways.clamp(min=0).square()).clamp(min=0).sqrt(),
        (deep.square() + sideways.clamp(min=0).square()).sqrt(),
    )


def _turn(guess: Tensor, true: Tensor, axis: Tensor) -> Tensor:
    """How far one rotation is turned against another about a true direction, radians, not negative."""
    between = guess @ true.mT
    _, cos_sin = decompose(between, axis.expand(between.shape[:-1]))
    return torch.atan2(cos_sin[..., 1], cos_sin[..., 0]).abs()


def _trunk(guess: _Posed, true: _Posed, off: Tensor, flipped: Tensor, unexplained: Tensor) -> Tensor:
    axis = true.direction[..., 0, :]
    pelvis, chest = (_turn(guess.rotmats[..., j, :, :], true.rotmats[..., j, :, :], axis) for j in (_PELVIS, _CHEST))
    both, either = torch.minimum(pelvis, chest) >= TURN, torch.maximum(pelvis, chest) >= TURN
    kind = torch.where(either, TWIST, torch.full_like(unexplained, SMALL))
    kind = torch.where(off >= WRONG, unexplained, kind)
    kind = torch.where(both | (off >= AWAY), ORIENTATION, kind)
    return torch.where(flipped & ~either, FLIP, kind)


def _limb(
    number: int,
    kinds: list[Tensor],
    guess: _Posed,
    true: _Posed,
    off: Tensor,
    flipped: Tensor,
    exchanged: Tensor,
    unexplained: Tensor,
) -> Tensor:
    """Kind of a segment whose carrier's is known. Written from the last explanation to the first."""
    off, axis = off[..., number], true.direction[..., number, :]
    own = SEGMENTS[number].turned_by
    turned = _turn(guess.rotmats[..., own, :, :], true.rotmats[..., own, :, :], axis)
    kind = torch.where(turned >= TURN, TWIST, torch.full_like(kinds[0], SMALL))
    kind = torch.where(off >= WRONG, unexplained[..., number], kind)
    carriers = [(kinds[c], c == 0, _carried(number, by, guess, true, off, turned)) for c, by in _carriers(number)]
    for of_carrier, is_trunk, carried in carriers:
        kind = torch.where(carried & (of_carrier == TWIST) & (not is_trunk), TWIST, kind)
    kind = torch.where(flipped[..., number], FLIP, kind)
    kind = torch.where(exchanged[..., number], EXCHANGED, kind)
    for of_carrier, is_trunk, carried in carriers:
        explains = (of_carrier != SMALL) & ((of_carrier != TWIST) | is_trunk)
        kind = torch.where(carried & explains, of_carrier, kind)
    return kind


def _carriers(number: int) -> list[tuple[int, int]]:
    """Segments that one hangs on and the joints that carry it along, the nearest first and the trunk last."""
    found, segment = [], SEGMENTS[number]
    while segment.carrier is not None:
        found.append((segment.carrier, segment.carried_by))
        segment = SEGMENTS[segment.carrier]
    return found


def _carried(number: int, by: int, guess: _Posed, true: _Posed, off: Tensor, turned: Tensor) -> Tensor:
    """Whether a segment that is off, or turned about itself, is right once the joint that carries it is."""
    own, axis = SEGMENTS[number].turned_by, true.direction[..., number, :]
    back = true.rotmats[..., by, :, :] @ guess.rotmats[..., by, :, :].mT  # (B, N, 3, 3)
    right = angle((back @ guess.direction[..., number, :, None])[..., 0], axis)
    after = _turn(back @ guess.rotmats[..., own, :, :], true.rotmats[..., own, :, :], axis)
    only_turned = (off < WRONG) & (turned >= TURN) & (right < WRONG) & (after < TURN)
    return _undone(right, off) | only_turned


def _exchanged(guess: _Posed, true: _Posed, off: Tensor) -> Bool[Tensor, "person hyp 14"]:
    """Segments of arms and legs that the truth has on the other side."""
    found = torch.zeros_like(off, dtype=torch.bool)
    for upper, lower, carrier in _PAIRS:
        left, right = ([NUMBER[f"{side} {name}"] for name in (upper, lower)] for side in ("left", "right"))
        here, there = [*left, *right], [*right, *left]
        across = true.direction[..., there, :]
        # The mirror of the body: x of the carrier's own axes changes its sign.
        side = true.rotmats[..., carrier, :, 0][..., None, :]
        mirrored = across - 2 * (across * side).sum(-1, keepdim=True) * side
        before, given = off[..., here], guess.direction[..., here, :]
        for other in (across, mirrored):
            after = angle(given, other)
            explained = _undone(after, before)
            both = explained[..., :2].any(-1) & explained[..., 2:].any(-1)
            holds = both & (after.sum(-1) <= before.sum(-1) * 2 / 3)
            found[..., here] |= explained & holds[..., None]
    return found


@torch.no_grad()
def turned_away(hypotheses: Hypotheses, truth: Annotation) -> Float[Tensor, "person hyp"]:
    """Angle between the pelvis' rotation and the true one, radians: how large mistakes of `orientation` are."""
    given = hypotheses.body.global_orient
    return rotmat_angle(given, truth.body.global_orient[:, None].expand_as(given))
