"""Persons with truth seen again: the same poses before other cameras, hidden otherwise, with the detector's noise.

What a scorer or a model can be taught about the wild without a single wild label: the poses and labels are those that
are at hand, and how a detector errs is measured without them. Cameras are spread widely rather than fitted to any set.
"""

from __future__ import annotations

import torch

from hmralign.body.model import BodyModel
from hmralign.data.pose_file import PoseSet
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.observation_noise import Failures, MeasuredNoise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.data.synthetic.proportions import Proportions
from hmralign.data.synthetic.views import ViewMix
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.structures import Annotation, Example

WIDELY = SyntheticMix(
    views=ViewMix(focal=(0.5, 2.0), pitch_sd=20.0, steep_share=0.3, roll_sd=10.0, height=(0.3, 1.0)),
    failures=Failures(
        hidden_below=0.15, hidden_limb=0.15, dropped=0.02, no_feet=0.2, no_knuckles=0.2, wrong_person=0.0,
        swap_all=0.01, swap_legs=0.01, swap_arms=0.01,
    ),
    proportions=Proportions(sd=0.04), measured_share=0.7, box_only_share=0.0,
)  # fmt: skip
"""How persons are seen again."""

_AS_THEY_ARE = PoseMix(
    posture_share=0.0, file_share=1.0, recombine_share=0.0, perturb_deg=0.0, wide_perturb_share=0.0, tumble_share=0.0,
    mirror_share=0.0, collars=False,
)  # fmt: skip


def poses_of(annotation: Annotation, sha256: str) -> PoseSet:
    """Poses of annotated persons; upright is minus y of the `cam` frame, as before a level camera."""
    body = annotation.body
    up = -body.global_orient[:, 1, :]  # the pelvis' view of (0, -1, 0): minus the second row
    rotvecs = rotmat_to_rotvec(body.rotmats)
    return PoseSet(body.body_pose, up, rotvecs, sha256)


def reobserved(
    body: BodyModel,
    annotation: Annotation,
    sha256: str,
    noise: MeasuredNoise,
    count: int,
    generator: torch.Generator,
    mix: SyntheticMix = WIDELY,
) -> Example:
    """`count` persons in poses of the annotated ones, drawn with replacement, without masks.

    `sha256` names where the annotation is from.
    """
    source = PoseSource(load_pose_prior("train"), _AS_THEY_ARE, poses_of(annotation, sha256))
    return Generator(body, source, mix, noise).sample(count, generator)
