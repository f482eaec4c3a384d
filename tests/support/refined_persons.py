"""Two observed persons, their truth, and bodies that start elsewhere."""

from functools import cache

import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.person_fit import PersonFit
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, Example


@cache
def persons(count: int = 6, known: float = 1.0, seed: int = 0) -> tuple[Example, PersonFit, BodyParams]:
    """Examples, their fit, and true bodies with every joint turned by some degrees and the place kept."""
    body, draw = load_free_body("3k5"), torch.Generator().manual_seed(seed)
    mix = SyntheticMix(known_camera_share=known, box_only_share=0.0)
    example = Generator(body, PoseSource(load_pose_prior("train"), PoseMix()), mix).sample(count, draw)
    assert example.annotation is not None
    truth = example.annotation.body
    turn = rotvec_to_rotmat(0.15 * torch.randn(count, 24, 3, generator=draw))
    start = BodyParams(truth.global_orient @ turn[:, 0], truth.body_pose @ turn[:, 1:], truth.betas, truth.transl)
    return example, PersonFit.of(body, example.observation, noise_of("mediapipe")), start
