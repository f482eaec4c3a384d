"""SynthWild: a benchmark of synthetic persons with a gap between lab and wild, frozen and hashed.

Three worlds. *lab*: moderate poses before level cameras, careful keypoints, hardly anything hidden. *broad*: a little
more of everything, the same careful keypoints; its labels are noisy. *wild*: harder poses, steep, rolled and wide
cameras, people cut off and hidden, the measured noise of the shipped detector, other proportions. Poses of `test`
splits come from the prior fitted on clips that the training prior never saw; `mocap` takes real unseen poses where a
pose file is at hand. Nothing here may change without a new version name: the frozen hashes and their test hold it. Why
it is so and what it cannot show: `docs/benchmark_synthwild.md`.

v2 has the worlds of v1 and new validation and test splits (`wild-v2/test`): nobody is there twice, postures are those
that no training, no other split and no prior has, and holes of masks follow the body that was observed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.data.keypoint_box import MIN_CONFIDENCE
from hmralign.data.pose_file import PoseSet
from hmralign.data.synthetic.generator import Generator, SeenBody, SyntheticMix
from hmralign.data.synthetic.observation_noise import Failures, GenericNoise, load_measured_noise
from hmralign.data.synthetic.pose_prior import PriorName, load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.data.synthetic.postures import PostureSet
from hmralign.data.synthetic.proportions import AS_MODELLED, Proportions
from hmralign.data.synthetic.views import ViewMix
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.storage.seeds import seeded
from hmralign.structures import Annotation, Example, InputError, TensorRecord

V1, V2 = "synthwild-v1", "synthwild-v2"
VERSIONS = (V1, V2)

World = Literal["lab", "broad", "wild"]


@dataclass(frozen=True)
class WorldMix:
    """How the persons of a world are posed, seen and observed."""

    data: SyntheticMix
    poses: PoseMix


_CAREFUL = GenericNoise(scale=(0.003, 0.008), tail=6.0)

LAB = WorldMix(
    SyntheticMix(
        views=ViewMix(focal=(0.9, 1.6), pitch_sd=4.0, steep_share=0.0, roll_sd=1.0, height=(0.4, 0.7), place_sd=0.06),
        failures=Failures(
            hidden_below=0.0, hidden_limb=0.02, dropped=0.003, no_feet=0.2, no_knuckles=0.2, wrong_person=0.0,
            swap_all=0.0, swap_legs=0.0, swap_arms=0.0,
        ),
        generic=_CAREFUL, proportions=AS_MODELLED, measured_share=0.0, box_only_share=0.0,
    ),
    PoseMix(posture_share=0.1, file_share=0.0, recombine_share=0.2, perturb_deg=3.0, wide_perturb_share=0.0,
            tumble_share=0.0),
)  # fmt: skip

WILD = WorldMix(
    SyntheticMix(
        views=ViewMix(focal=(0.45, 2.2), pitch_sd=22.0, steep_share=0.55, roll_sd=15.0, height=(0.3, 1.5)),
        failures=Failures(
            hidden_below=0.2, hidden_limb=0.2, dropped=0.03, no_feet=0.3, no_knuckles=0.3, wrong_person=0.02,
            swap_all=0.015, swap_legs=0.02, swap_arms=0.01,
        ),
        proportions=Proportions(sd=0.05, thigh_mean=0.95, shank_mean=0.92), measured_share=1.0, box_only_share=0.0,
    ),
    PoseMix(posture_share=0.45, file_share=0.0, recombine_share=0.4, perturb_deg=6.0, wide_perturb_share=0.08,
            tumble_share=0.12),
)  # fmt: skip

BROAD = WorldMix(
    SyntheticMix(
        views=ViewMix(focal=(0.7, 2.0), pitch_sd=8.0, steep_share=0.0, roll_sd=3.0, height=(0.35, 0.75), place_sd=0.08),
        failures=LAB.data.failures, generic=_CAREFUL, proportions=AS_MODELLED, measured_share=0.0, box_only_share=0.0,
    ),
    PoseMix(posture_share=0.15, file_share=0.0, recombine_share=0.3, perturb_deg=5.0, wide_perturb_share=0.05,
            tumble_share=0.0),
)  # fmt: skip

WORLDS: dict[World, WorldMix] = {"lab": LAB, "broad": BROAD, "wild": WILD}

LABEL_NOISE_M = 0.06
"""Root mean square distance of each of broad's labelled joints from the truth, metres (pelvis-relative, by the noise of
both, 0.085); body rotations are off by 15 degrees, twists alone by about 10."""


@dataclass(frozen=True)
class Split:
    """One frozen set of persons."""

    world: World
    prior: PriorName
    size: int
    seed: int
    mask_share: float
    """Persons with a mask."""
    label_noise: bool = False
    """Whether the annotation is noisy (`LABEL_NOISE_M`)."""
    real_poses: bool = False
    """Poses come from the test split of a pose file; not hashed, since the file is the user's."""
    version: str = V1
    """One of `VERSIONS`. In v1 whoever is hardly seen is replaced by a copy of somebody else, and holes of masks follow
    the annotated body."""
    postures: PostureSet = "training"
    """Which typed postures there are."""


SPLITS: dict[str, Split] = {
    "lab/train": Split("lab", "train", 90_000, 11, 0.5),
    "lab/val": Split("lab", "train", 500, 12, 0.5),
    "lab/test": Split("lab", "heldout", 1_000, 13, 0.5),
    "broad/train": Split("broad", "train", 30_000, 21, 0.5, label_noise=True),
    "wild/train": Split("wild", "train", 8_000, 31, 0.8),
    "wild/val": Split("wild", "train", 1_000, 32, 0.8),
    "wild/test": Split("wild", "heldout", 2_000, 33, 0.8),
    "mocap/test": Split("wild", "heldout", 1_000, 43, 0.8, real_poses=True),
    "lab-v2/val": Split("lab", "train", 500, 52, 0.5, version=V2, postures="validation"),
    "lab-v2/test": Split("lab", "heldout", 1_000, 53, 0.5, version=V2, postures="test"),
    "wild-v2/val": Split("wild", "train", 1_000, 62, 0.8, version=V2, postures="validation"),
    "wild-v2/test": Split("wild", "heldout", 2_000, 63, 0.8, version=V2, postures="test"),
}

CHUNK = 2_500
"""Persons drawn at once; chunk k of a split is a pure function of (version, split, k)."""


def split_of(name: str) -> Split:
    """A split by name. Raises InputError for another name."""
    if name not in SPLITS:
        raise InputError(f"'{name}' is no split of SynthWild; expected one of {', '.join(SPLITS)}")
    return SPLITS[name]


def chunk_sizes(split: Split) -> list[int]:
    """Persons in each chunk of a split."""
    return [min(CHUNK, split.size - start) for start in range(0, split.size, CHUNK)]


def world_generator(
    world: World, prior: PriorName, poses: PoseSet | None = None, postures: PostureSet = "training"
) -> Generator:
    """The source of a world; `poses` replaces the prior's poses by real ones."""
    mix = WORLDS[world]
    pose_mix = replace(mix.poses, postures=postures)
    if poses is not None:
        pose_mix = PoseMix(
            posture_share=0.0, file_share=1.0, recombine_share=0.0, perturb_deg=0.0, wide_perturb_share=0.0,
            tumble_share=0.0, mirror_share=0.0, collars=False,
        )  # fmt: skip
    noise = load_measured_noise() if mix.data.measured_share > 0 else None
    return Generator(load_free_body("3k5"), PoseSource(load_pose_prior(prior), pose_mix, poses), mix.data, noise)


def chunk_generator(split: Split, chunk: int) -> torch.Generator:
    """What a chunk is drawn from.

    v1 does not take `storage.seeds.seeded`: it is frozen, and other seeds would be other persons under its name.
    """
    if split.version != V1:
        return seeded(split.seed, split.version, chunk)
    return torch.Generator().manual_seed(split.seed * 1_000_003 + chunk)


def sample_chunk(
    split: Split, chunk: int, generator: torch.Generator, poses: PoseSet | None = None
) -> tuple[Example, SeenBody]:
    """Persons of one chunk, without masks. Raises InputError for a `real_poses` split without poses."""
    if split.real_poses and poses is None:
        raise InputError("this split takes its poses from a pose file; give one")
    source = world_generator(split.world, split.prior, poses if split.real_poses else None, split.postures)
    size = chunk_sizes(split)[chunk]
    sampled = source.sample_seen if split.version == V1 else source.sample_distinct
    example, seen = sampled(size, generator)
    if split.label_noise:
        example = with_label_noise(example, generator)
    return example, seen


def with_label_noise(example: Example, generator: torch.Generator) -> Example:
    """The same observations with labels as an imperfect fit gives them: joints and rotations off independently."""
    assert example.annotation is not None
    body, joints = example.annotation.body, example.annotation.joints
    shift = LABEL_NOISE_M / math.sqrt(3) * torch.randn(joints.shape, generator=generator)
    turn = math.radians(15) / math.sqrt(3) * torch.randn(body.body_pose.shape[:-1], generator=generator)
    noisy = replace(body, body_pose=body.body_pose @ rotvec_to_rotmat(turn))
    return Example(example.observation, Annotation(noisy, joints + shift))


@dataclass(frozen=True)
class Slices(TensorRecord):
    """Properties of persons that hard cases are sorted by."""

    pitch: Float[Tensor, " n"]
    """Camera pitch, radians below the horizon."""
    focal: Float[Tensor, " n"]
    """Focal length in image diagonals."""
    inside_image: Float[Tensor, " n"]
    """Share of the true COCO keypoints inside the image."""
    legs_seen: Bool[Tensor, " n"]
    """Whether any knee or ankle is confident."""
    ambiguous_limbs: Float[Tensor, " n"]
    """Seen upper arms, forearms, thighs and shanks that point more than 45 degrees out of the image plane: their mirror
    image in depth projects alike."""

    def masks(self) -> dict[str, Bool[Tensor, " n"]]:
        """The reported slices by name."""
        return {
            "pitch > 45 deg": self.pitch.abs() > math.radians(45),
            "wide field of view": self.focal < 0.6,
            "truncated": self.inside_image < 0.85,
            "legs hidden": ~self.legs_seen,
            "depth-ambiguous limbs": self.ambiguous_limbs >= 3,
        }


_LIMBS = ((16, 18, 5, 7), (17, 19, 6, 8), (18, 20, 7, 9), (19, 21, 8, 10), (1, 4, 11, 13), (2, 5, 12, 14),
          (4, 7, 13, 15), (5, 8, 14, 16))  # fmt: skip
"""Start and end of each limb, as joints and as keypoints."""


def slices_of(example: Example, seen: SeenBody) -> Slices:
    """Sort persons by what makes them hard; uses the truth, so it is for reports only."""
    assert example.annotation is not None
    confident = example.observation.confidence > MIN_CONFIDENCE
    joints, K = seen.joints, example.observation.K
    starts, ends, a, b = (list(column) for column in zip(*_LIMBS, strict=True))
    bone = joints[:, ends] - joints[:, starts]
    towards = joints[:, starts] / joints[:, starts].norm(dim=-1, keepdim=True)
    steep = (bone * towards).sum(-1).abs() / bone.norm(dim=-1) > math.sin(math.radians(45))
    diagonal = torch.hypot(2 * K[:, 0, 2] + 1, 2 * K[:, 1, 2] + 1)
    return Slices(
        pitch=seen.pitch,
        focal=K[:, 0, 0] / diagonal,
        inside_image=seen.inside_image,
        legs_seen=confident[:, [13, 14, 15, 16]].any(-1),
        ambiguous_limbs=(steep & confident[:, a] & confident[:, b]).float().sum(-1),
    )
