"""Where training poses come from: the prior, pose files, typed postures; then mirrored, recombined, perturbed.

Collars follow the arms (the motion capture has none): the clavicle takes a share of the arm's elevation beyond 30
degrees and of its reach forward, after the scapulo-humeral rhythm of Inman et al. 1944; the upper arm keeps its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS, NUM_JOINTS, PARENTS
from hmralign.data.pose_file import PoseSet
from hmralign.data.synthetic.pose_prior import PosePrior
from hmralign.data.synthetic.postures import PostureSet, any_orientation, sample_postures
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat

_INDEX = {name: i - 1 for i, name in enumerate(JOINT_NAMES)}


def _below(joint: int) -> list[int]:
    """Body-pose slots of all joints below `joint`, itself included."""
    keep = {joint}
    for j in range(1, NUM_JOINTS):
        if PARENTS[j] in keep:
            keep.add(j)
    return sorted(j - 1 for j in keep)


_UPPER = _below(JOINT_NAMES.index("spine1"))
_LEFT_ARM, _RIGHT_ARM = (_below(JOINT_NAMES.index(f"{s}_collar")) for s in ("left", "right"))


@dataclass(frozen=True)
class PoseMix:
    """How many of the poses come from where, and how they are varied. Shares are probabilities, angles degrees."""

    posture_share: float = 0.3
    """Typed postures (standing, seated, kneeling, lying ...) under a sampled upper body."""
    postures: PostureSet = "training"
    """Which typed postures; the others are for benchmarks alone."""
    file_share: float = 0.6
    """Share of the remaining poses that come from the pose file, when there is one; the rest come from the prior."""
    mirror_share: float = 0.5
    """Mirrored."""
    recombine_share: float = 0.35
    """Upper body, or one arm, taken from another pose."""
    perturb_deg: float = 5.0
    """Standard deviation of the Gaussian perturbation of every joint."""
    wide_perturb_share: float = 0.1
    """Share perturbed five times as much, kept loosely inside the joints' reach by the small base angle."""
    tumble_share: float = 0.03
    """Share whose up direction is uniform on the sphere."""
    collars: bool = True
    """Collars follow the arms."""


def mirror(
    body_pose: Float[Tensor, "n 23 3 3"], up: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n 23 3 3"], Float[Tensor, "n 3"]]:
    """Reflect poses in the sagittal plane and swap sides."""
    swap = [j - 1 for j in MIRROR_JOINTS[1:NUM_JOINTS]]
    flip = torch.tensor([-1.0, 1.0, 1.0])
    return body_pose[:, swap] * flip[:, None] * flip, up * flip


def raise_collars(
    body_pose: Float[Tensor, "n 23 3 3"], generator: torch.Generator, *, noise_deg: float = 4.0
) -> Float[Tensor, "n 23 3 3"]:
    """Turn the collars with the arms; the upper arm keeps its direction relative to the spine."""
    out = body_pose.clone()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        collar, shoulder = _INDEX[f"{side}_collar"], _INDEX[f"{side}_shoulder"]
        arm = (out[:, collar] @ out[:, shoulder])[:, :, 0] * sign
        elevation = torch.acos((-arm[:, 1]).clamp(-1, 1))
        raise_by = (0.25 * (elevation - math.radians(30))).clamp(-0.1, 0.6)
        forward = 0.2 * torch.atan2(arm[:, 2], (sign * arm[:, 0]).clamp(min=0.3))
        noise = math.radians(noise_deg) * torch.randn(2, len(out), generator=generator)
        turn = axis_rotmat("z", sign * (raise_by + noise[0])) @ axis_rotmat("y", -sign * (forward + noise[1]))
        out[:, shoulder] = turn.mT @ out[:, collar] @ out[:, shoulder]
        out[:, collar] = turn
    return out


def _recombine(
    body_pose: Float[Tensor, "n 23 3 3"], share: float, generator: torch.Generator
) -> Float[Tensor, "n 23 3 3"]:
    out = body_pose.clone()
    n = len(out)
    for part in (_UPPER, _LEFT_ARM, _RIGHT_ARM):
        chosen = (torch.rand(n, generator=generator) < share / 2).nonzero()[:, 0]
        donor = torch.randint(n, (len(chosen),), generator=generator)
        out[chosen[:, None], torch.tensor(part)] = body_pose[donor[:, None], torch.tensor(part)]
    return out


def _perturb(body_pose: Float[Tensor, "n 23 3 3"], mix: PoseMix, generator: torch.Generator) -> Tensor:
    n = len(body_pose)
    wide = torch.rand(n, generator=generator) < mix.wide_perturb_share
    scale = math.radians(mix.perturb_deg) * torch.where(wide, 5.0, 1.0)
    noise = scale[:, None, None] * torch.randn(n, NUM_JOINTS - 1, 3, generator=generator)
    return body_pose @ rotvec_to_rotmat(noise)


@dataclass(frozen=True)
class PoseSource:
    """Draws poses. `poses` is an optional set of real ones."""

    prior: PosePrior
    mix: PoseMix = PoseMix()
    poses: PoseSet | None = None

    def sample(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, "n 23 3 3"], Float[Tensor, "n 3"]]:
        """`n` poses: parent-relative rotations, and the unit up direction in the pelvis frame."""
        body_pose, up = self.prior.sample(n, generator)
        if self.poses is not None:
            real = (torch.rand(n, generator=generator) < self.mix.file_share).nonzero()[:, 0]
            pick = torch.randint(len(self.poses.up_in_pelvis), (len(real),), generator=generator)
            body_pose[real], up[real] = self.poses.body_pose[pick], self.poses.up_in_pelvis[pick]
        flipped = (torch.rand(n, generator=generator) < self.mix.mirror_share).nonzero()[:, 0]
        body_pose[flipped], up[flipped] = mirror(body_pose[flipped], up[flipped])
        body_pose = _recombine(body_pose, self.mix.recombine_share, generator)
        posed = (torch.rand(n, generator=generator) < self.mix.posture_share).nonzero()[:, 0]
        body_pose[posed], up[posed] = sample_postures(body_pose[posed], generator, self.mix.postures)
        body_pose = _perturb(body_pose, self.mix, generator)
        if self.mix.collars:
            body_pose = raise_collars(body_pose, generator)
        tumble = (torch.rand(n, generator=generator) < self.mix.tumble_share).nonzero()[:, 0]
        up[tumble] = any_orientation(len(tumble), generator)
        return body_pose, up
