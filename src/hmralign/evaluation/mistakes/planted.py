"""Known mistakes planted on true bodies: does a critic prefer the truth?

A correlation says how well a critic orders a model's samples; it does not say what the critic is blind to. Here every
person's true body stands beside the same body with one mistake of a kind, and a critic is asked for both.

| mistake | what is done | what can tell |
| --- | --- | --- |
| arms swapped, legs swapped | each limb takes the pose of the other side's, in the body's mirror | keypoints |
| limb flipped in depth | one limb is reflected across the plane of the image: it looks the same | joint limits, pose |
| through the body | the smallest of many arm movements that put it inside another part | penetration, keypoints |
| off the ground | moved 15 cm up in the image | placement |
| wrong depth | moved along its ray, a fifth nearer or further | size in the image |
| wrong size | taller or shorter by an eighth, about the pelvis | size in the image |
| large and far | both at once: the image stays nearly what it is | little: proportions and perspective |
| torso twisted | 45 degrees over the three spine joints | keypoints |

`large and far` is the ambiguity of every single picture. It is not quite hidden: the betas that make a body taller
change its proportions too.

Persons on whom a mistake makes no difference (joints move by less than a centimetre on average, or nothing could be
made to penetrate) are left out of its rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.body.capsules import self_penetration
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS, NUM_JOINTS, PARENTS
from hmralign.critics.critic import Critic, judge
from hmralign.geometry.frames import mirror_rotmats
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat
from hmralign.geometry.swing_twist import swing_between
from hmralign.metrics.intervals import cluster_counts, cluster_interval
from hmralign.structures import BodyParams, Example, Hypotheses, InputError

LEAST_CHANGE = 0.01
"""Metres that the 24 joints must move on average for a mistake to count."""

LEAST_OVERLAP = 0.05
"""Metres of capsule overlap beyond the truth's that count as penetration."""

SAME_SCORE = 1e-5
"""Scores that differ by less are equal: the same body computed twice differs by rounding."""

LIFT = 0.15
"""Metres."""
DEPTH_FACTOR = 1.2
SIZE_FACTOR = 1.125
TWIST = math.radians(45)
_MOVEMENTS, _MOVEMENT_STD = 48, 0.8

Plant = Callable[[BodyModel, BodyParams, torch.Generator], BodyParams]
"""`(body, true bodies of axis person, generator) -> bodies with a mistake`."""


@dataclass(frozen=True)
class Mistake:
    """A kind of mistake."""

    name: str
    plant: Plant
    must_penetrate: bool = False


def _numbers(side: str, *parts: str) -> list[int]:
    return [JOINT_NAMES.index(f"{side}_{part}") for part in parts]


def _with_pose(truth: BodyParams, rotmats: Float[Tensor, "*batch 24 3 3"]) -> BodyParams:
    return replace(truth, body_pose=rotmats[..., 1:, :, :])


def _swapping(*parts: str) -> Plant:
    joints = _numbers("left", *parts) + _numbers("right", *parts)

    def plant(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
        rotmats = truth.rotmats.clone()
        rotmats[:, joints] = mirror_rotmats(truth.rotmats, MIRROR_JOINTS[:NUM_JOINTS])[:, joints]
        return _with_pose(truth, rotmats)

    return plant


def flip_limb(body: BodyModel, truth: BodyParams, chain: tuple[int, int, int]) -> BodyParams:
    """Both bones of a limb (such as shoulder, elbow, wrist) reflected across the plane of the image at its root.

    What hangs on the last joint keeps its rotation relative to it.
    """
    top, middle, end = chain
    G, joints = forward_kinematics(rest_joints(body, truth.betas), truth.rotmats, body.parents)
    view = torch.nn.functional.normalize(joints[:, top] + truth.transl, dim=-1)

    def turned(start: int, stop: int) -> Float[Tensor, "person 3 3"]:
        bone = torch.nn.functional.normalize(joints[:, stop] - joints[:, start], dim=-1)
        reflected = bone - 2 * (bone * view).sum(-1, keepdim=True) * view
        return swing_between(bone, reflected) @ G[:, start]

    first, second = turned(top, middle), turned(middle, end)
    rotmats = truth.rotmats.clone()
    rotmats[:, top] = G[:, PARENTS[top]].mT @ first
    rotmats[:, middle] = first.mT @ second
    return _with_pose(truth, rotmats)


def _flip_one_limb(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
    """Flip the limb that the flip moves furthest."""
    chains = [
        tuple(_numbers(side, *parts))
        for side in ("left", "right")
        for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
    ]
    flipped = [flip_limb(body, truth, (c[0], c[1], c[2])) for c in chains]
    moved = torch.stack([change(body, f, truth) for f in flipped])
    return BodyParams.stack(flipped)[moved.argmax(0), torch.arange(moved.shape[1])]


def _through_the_body(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
    """Turn an arm into the body: the smallest random turn that penetrates, else the one that overlaps most."""
    n = len(truth.transl)
    left = torch.rand(n, _MOVEMENTS, generator=generator) < 0.5
    turns = rotvec_to_rotmat(_MOVEMENT_STD * torch.randn(n, _MOVEMENTS, 2, 3, generator=generator))
    rotmats = truth.rotmats[:, None].repeat(1, _MOVEMENTS, 1, 1, 1)
    for side, chosen in (("left", left), ("right", ~left)):
        for slot, joint in enumerate(_numbers(side, "shoulder", "elbow")):
            moved = rotmats[:, :, joint] @ turns[:, :, slot]
            rotmats[:, :, joint] = torch.where(chosen[..., None, None], moved, rotmats[:, :, joint])
    betas, transl = (v[:, None].expand(-1, _MOVEMENTS, -1) for v in (truth.betas, truth.transl))
    candidates = BodyParams(rotmats[:, :, 0], rotmats[:, :, 1:], betas, transl)
    more = _overlap(body, candidates) - _overlap(body, truth)[:, None]
    cost = change(body, candidates, truth[:, None])
    rank = torch.where(more >= LEAST_OVERLAP, -cost, more - 100)
    return candidates[torch.arange(n), rank.argmax(1)]


def _overlap(body: BodyModel, bodies: BodyParams) -> Float[Tensor, "*batch"]:
    return self_penetration(body, posed_joints(body, bodies), bodies.betas)


def _off_the_ground(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
    return truth.with_transl(truth.transl + truth.transl.new_tensor([0.0, -LIFT, 0.0]))


def _signs(truth: BodyParams, generator: torch.Generator) -> Float[Tensor, " person"]:
    return (torch.rand(len(truth.transl), generator=generator) < 0.5).to(truth.transl) * 2 - 1


def _away(body: BodyModel, truth: BodyParams, factor: Float[Tensor, " person"]) -> BodyParams:
    """The pelvis that many times as far from the camera, on the same ray."""
    pelvis_rest = rest_joints(body, truth.betas)[:, 0]
    return truth.with_transl((pelvis_rest + truth.transl) * factor[:, None] - pelvis_rest)


def _wrong_depth(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
    return _away(body, truth, torch.as_tensor(DEPTH_FACTOR) ** _signs(truth, generator))


def resized(body: BodyModel, truth: BodyParams, factor: Float[Tensor, " person"]) -> BodyParams:
    """Taller by a factor with the smallest change of betas, the pelvis where it was."""
    top, toe = JOINT_NAMES.index("head_top"), JOINT_NAMES.index("left_big_toe_tip")
    per_beta = (body.J_shapedirs[top] - body.J_shapedirs[toe])[1].to(truth.betas)  # (betas,), along y, which is up
    rest = rest_joints(body, truth.betas)
    wanted = (factor - 1) * (rest[:, top, 1] - rest[:, toe, 1])
    betas = truth.betas + wanted[:, None] * per_beta / per_beta.square().sum()
    return replace(truth, betas=betas, transl=truth.transl + rest[:, 0] - rest_joints(body, betas)[:, 0])


def _wrong_size(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
    return resized(body, truth, torch.as_tensor(SIZE_FACTOR) ** _signs(truth, generator))


def _large_and_far(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
    factor = torch.as_tensor(SIZE_FACTOR) ** _signs(truth, generator)
    return _away(body, resized(body, truth, factor), factor)


def _torso_twisted(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> BodyParams:
    rotmats = truth.rotmats.clone()
    turn = axis_rotmat("y", _signs(truth, generator) * TWIST / 3)
    for name in ("spine1", "spine2", "spine3"):
        joint = JOINT_NAMES.index(name)
        rotmats[:, joint] = rotmats[:, joint] @ turn
    return _with_pose(truth, rotmats)


MISTAKES = (
    Mistake("arms swapped", _swapping("collar", "shoulder", "elbow", "wrist", "hand")),
    Mistake("legs swapped", _swapping("hip", "knee", "ankle", "foot")),
    Mistake("limb flipped in depth", _flip_one_limb),
    Mistake("through the body", _through_the_body, must_penetrate=True),
    Mistake("off the ground", _off_the_ground),
    Mistake("wrong depth", _wrong_depth),
    Mistake("wrong size", _wrong_size),
    Mistake("large and far", _large_and_far),
    Mistake("torso twisted", _torso_twisted),
)


def change(body: BodyModel, bodies: BodyParams, truth: BodyParams) -> Float[Tensor, "*batch"]:
    """Mean distance of the 24 joints where they stand, metres; nothing is aligned."""
    moved = posed_joints(body, bodies) - posed_joints(body, truth)
    return moved[..., :NUM_JOINTS, :].norm(dim=-1).mean(-1)


@dataclass(frozen=True)
class Planted:
    """True bodies and bodies with a mistake, axes (person, 2), and the persons on whom it makes a difference."""

    mistake: Mistake
    pair: Hypotheses
    counts: Bool[Tensor, " person"]
    moved: Float[Tensor, " person"]
    """`change` in metres."""


@torch.no_grad()
def planted(body: BodyModel, truth: BodyParams, mistake: Mistake, seed: int = 0) -> Planted:
    """The truth first, the mistake second. The same seed plants the same."""
    generator = torch.Generator().manual_seed(seed)
    wrong = mistake.plant(body, truth, generator)
    pair = BodyParams.stack([truth, wrong], dim=1)
    moved = change(body, wrong, truth)
    counts = moved >= LEAST_CHANGE
    if mistake.must_penetrate:
        counts &= _overlap(body, wrong) - _overlap(body, truth) >= LEAST_OVERLAP
    return Planted(mistake, Hypotheses(pair, posed_joints(body, pair)), counts, moved)


@torch.no_grad()
def planted_table(
    critics: Mapping[str, Critic],
    body: BodyModel,
    example: Example,
    clusters: Int[np.ndarray, " person"] | None = None,
    *,
    seed: int = 0,
    draws: int = 1000,
    device: str | torch.device = "cpu",
) -> dict[str, dict[str, Any]]:
    """By mistake: how many persons it counts on, by how much it moves joints, and each critic's rate of right answers.

    A rate is (mean, low, high) with ties counted a half, beside the share of ties; None where no person counts.
    `clusters` numbers the cluster of each person; critics judge on `device`, `body` is on the CPU.

    Raises InputError without truth, and as `judge`.
    """
    if example.annotation is None:
        raise InputError("planted mistakes need persons with truth")
    numbers = np.arange(len(example.observation.box)) if clusters is None else np.asarray(clusters)
    table = {}
    for number, mistake in enumerate(MISTAKES):
        made = planted(body, example.annotation.body, mistake, seed * 1009 + number)
        kept = made.counts.nonzero()[:, 0]
        row: dict[str, Any] = {"persons": len(kept)}
        if len(kept):
            row["moved_mm"] = round(1000 * float(made.moved[kept].mean()), 1)
            shown, pairs = example[kept].to(device), made.pair[kept].to(device)
            row["critics"] = {n: _rate(judge(c, pairs, shown).cpu(), numbers[kept], draws) for n, c in critics.items()}
        table[mistake.name] = row
    return table


def _rate(scores: Float[Tensor, "person 2"], clusters: np.ndarray, draws: int) -> dict[str, Any]:
    margin = (scores[:, 0] - scores[:, 1]).double().numpy()
    tied = np.abs(margin) <= SAME_SCORE
    right = np.where(tied, 0.5, (margin > 0).astype(np.float64))
    _, numbered = np.unique(clusters, return_inverse=True)
    interval = cluster_interval(right, cluster_counts(numbered, draws, 0))
    return {
        "rate": [round(v, 4) for v in (interval.mean, interval.low, interval.high)],
        "tied": round(float(tied.mean()), 4),
    }
