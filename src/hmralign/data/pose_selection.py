"""Few poses for many: farthest-point sampling of poses, their neighbours in time, and how diverse what is left is.

Sources: Gonzalez 1985 and Eldar et al. 1997 (farthest points); DrPose sec. 4 (1.5K of 300K poses, each with 9
neighbours in time). The distance is not printed there; here it is the root mean square over the 24 joints of the mean
shape's joint positions, with the pelvis at the origin and its turn undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.body.lbs import forward_kinematics
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.motion_files import MotionPoses
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import InputError
from hmralign.structures.counted import counted

Aligned = Literal["root", "pelvis"]

_AT_ONCE = 20_000


@dataclass(frozen=True)
class PoseSelectionConfig:
    """How many poses are kept."""

    centres: int = 1500
    """Poses that farthest-point sampling chooses."""
    neighbours: int = 9
    """Frames kept around each of them."""
    reach: int = 30
    """Frames before and behind a centre among which its neighbours are."""
    step: int = 1
    """Frames between neighbours."""
    aligned: Aligned = "root"
    """What is undone before poses are compared: place and turn of the pelvis, or its place alone."""
    seed: int = 0
    """Draws the first pose, and those that the report compares with."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers that choose nothing."""
        if self.centres < 1 or self.neighbours < 0 or self.reach < 1 or self.step < 1:
            raise InputError(
                f"a pose set of {self.centres} x (1 + {self.neighbours}), {self.reach} frames away in steps of "
                f"{self.step}; expected at least one pose, and frames of at least one"
            )


@dataclass(frozen=True)
class PoseSelection:
    """Chosen poses, as numbers of those that they were chosen from."""

    rows: Int[Tensor, " kept"]
    centre: Int[Tensor, " kept"]
    """Position of the centre of each in the order of choice; centres and their neighbours stand together."""
    is_centre: Bool[Tensor, " kept"]
    distance: Float[Tensor, " pose"]
    """Metres from every pose of the source to the nearest centre."""
    short: int
    """Neighbours that are missing because clips end or share their frames."""


def aligned_joints(
    body: BodyModel, rotvecs: Float[Tensor, "pose 24 3"], aligned: Aligned = "root"
) -> Float[Tensor, "pose 24 3"]:
    """Joints of the body's mean shape about its pelvis, metres."""
    rest = body.J_template
    parts = []
    for some in rotvecs.split(_AT_ONCE):
        rotmats = rotvec_to_rotmat(some)
        if aligned == "root":
            rotmats = torch.cat([torch.eye(3).expand(len(some), 1, 3, 3), rotmats[:, 1:]], 1)
        _, joints = forward_kinematics(rest.expand(len(some), -1, -1), rotmats, body.parents)
        parts.append(joints[:, :NUM_JOINTS] - joints[:, :1])
    return torch.cat(parts)


def farthest_points(
    points: Float[Tensor, "point dims"], count: int, generator: torch.Generator
) -> tuple[Int[Tensor, " count"], Float[Tensor, " point"]]:
    """Points of which each is the farthest from those before it, and the distance of every point to the nearest.

    The first is drawn; equally far ones go by their number. Fewer come back where the others coincide with them.
    Raises InputError for no points, or values that are not finite.
    """
    if len(points) == 0 or not bool(torch.isfinite(points).all()):
        raise InputError("farthest points are chosen among points that are finite, and at least one")
    square = points.square().sum(1)
    chosen = [int(torch.randint(len(points), (), generator=generator))]
    nearest = torch.full((len(points),), torch.inf)
    while True:
        last = chosen[-1]
        away = (square + square[last] - 2 * (points @ points[last])).clamp(min=0)
        away[last] = 0.0
        nearest = torch.minimum(nearest, away)
        if len(chosen) >= min(count, len(points)):
            break
        farthest = int(nearest.argmax())
        if float(nearest[farthest]) == 0.0:
            break
        chosen.append(farthest)
    return torch.tensor(chosen), nearest.sqrt()


def select_poses(
    poses: MotionPoses, joints: Float[Tensor, "pose 24 3"], config: PoseSelectionConfig, generator: torch.Generator
) -> PoseSelection:
    """Centres by farthest points, then frames around each that nobody has yet, the nearest in time first.

    Raises InputError where the source has fewer poses than centres are asked for.
    """
    if len(poses) < config.centres:
        raise InputError(f"the source has {counted(len(poses), 'pose')}, from which {config.centres} cannot be chosen")
    centres, distance = farthest_points(joints.flatten(1) / NUM_JOINTS**0.5, config.centres, generator)
    at = {(c, f): row for row, (c, f) in enumerate(zip(poses.clip.tolist(), poses.frame.tolist(), strict=True))}
    taken, rows, owner = set(centres.tolist()), [], []
    for number, centre in enumerate(centres.tolist()):
        own = [centre]
        for row in _around(poses, centre, at, config):
            if len(own) > config.neighbours:
                break
            if row not in taken:
                taken.add(row)
                own.append(row)
        rows += own
        owner += [number] * len(own)
    kept = torch.tensor(rows)
    wanted = len(centres) * (1 + config.neighbours)
    return PoseSelection(
        kept, torch.tensor(owner), torch.isin(kept, centres), distance, wanted - len(rows)
    )  # a centre is never a neighbour: it was taken before


def _around(
    poses: MotionPoses, centre: int, at: dict[tuple[int, int], int], config: PoseSelectionConfig
) -> Iterator[int]:
    """Poses of the same clip, the nearest in time first, the earlier of two."""
    clip, frame = int(poses.clip[centre]), int(poses.frame[centre])
    for away in range(config.step, config.reach + 1, config.step):
        for other in (frame - away, frame + away):
            if (row := at.get((clip, other))) is not None:
                yield row


@dataclass(frozen=True)
class Diversity:
    """How far poses spread. Metres, in the alignment that they were chosen in."""

    poses: int
    joint_sd: float
    """Root mean square, over joints, of the distance of a joint to its mean."""
    nearest_p5: float
    nearest_median: float
    nearest_p95: float
    """Distance of a pose to the nearest other one: 5 %, half and 95 % are below."""

    def millimetres(self) -> dict[str, float | int]:
        """As a report has it."""
        return {name if name == "poses" else f"{name}_mm": value if name == "poses" else round(1000 * value, 2)
                for name, value in asdict(self).items()}  # fmt: skip


def diversity(joints: Float[Tensor, "pose 24 3"]) -> Diversity:
    """How diverse poses are. Raises InputError for less than two."""
    if len(joints) < 2:
        raise InputError("the diversity of less than two poses is not defined")
    points = joints.flatten(1).double() / NUM_JOINTS**0.5
    sd = (points - points.mean(0)).square().sum(1).mean().sqrt()
    nearest = []
    for start in range(0, len(points), 2000):
        away = torch.cdist(points[start : start + 2000], points)
        away[torch.arange(len(away)), torch.arange(start, start + len(away))] = torch.inf
        nearest.append(away.amin(1))
    low, middle, high = torch.cat(nearest).quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist()
    return Diversity(len(joints), float(sd), low, middle, high)
