"""Synthetic persons, a tiny random model, and the mirror image of what was observed."""

from dataclasses import replace
from functools import lru_cache

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_keypoints
from hmralign.body.skeleton import MIRROR_JOINTS, MIRROR_KEYPOINTS
from hmralign.data.keypoint_box import keypoint_box
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.geometry.cameras import project
from hmralign.geometry.frames import mirror_rotmats
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.structures import BodyParams, Example, Observation

BODY = load_free_body("3k5")
TINY = LiteConfig(width=32, hidden=64, depth=1, context_width=32, context_depth=1)
SWAP = list(MIRROR_KEYPOINTS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_model(seed: int = 0) -> LiteModel:
    """Random weights whose outputs are not zero, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LiteModel(TINY).eval().requires_grad_(False)
        torch.nn.init.normal_(model.denoiser.head.weight, std=0.1)
    return model


def source(**mix) -> Generator:
    return Generator(BODY, PoseSource(load_pose_prior()), SyntheticMix(**mix))


@lru_cache
def persons(n: int = 6, seed: int = 5, known: float = 0.5) -> Example:
    """Do not write into the result."""
    return source(known_camera_share=known).sample(n, seeded(seed))


def exact(example: Example) -> Example:
    """The same persons with every keypoint seen where it is."""
    assert example.annotation is not None
    keypoints = project(posed_keypoints(BODY, example.annotation.body), example.observation.K)
    confidence = torch.ones(keypoints.shape[:-1])
    observation = replace(
        example.observation, keypoints=keypoints, confidence=confidence, box=keypoint_box(keypoints, confidence)
    )
    return Example(observation, example.annotation)


def mirrored(o: Observation, width: float = 640.0) -> Observation:
    """What would be observed in the mirrored photo of that width."""
    K, box = o.K.clone(), o.box[:, [2, 1, 0, 3]].clone()
    K[:, 0, 2] = width - 1 - K[:, 0, 2]
    box[:, [0, 2]] = width - 1 - box[:, [0, 2]]
    keypoints = torch.cat([width - 1 - o.keypoints[..., :1], o.keypoints[..., 1:]], -1)
    return replace(
        o, keypoints=keypoints[:, SWAP], confidence=o.confidence[:, SWAP], box=box, K=K, mask=o.mask.flip(-1)
    )


def mirrored_body(body: BodyParams) -> BodyParams:
    """The body mirrored in x; its shape is the same on both sides."""
    rotmats = mirror_rotmats(body.rotmats, MIRROR_JOINTS[:24])
    flip = torch.tensor([-1.0, 1.0, 1.0])
    return BodyParams(rotmats[..., 0, :, :], rotmats[..., 1:, :, :], body.betas, body.transl * flip)
