"""What a model on SynthWild has to beat: a mean pose, a nearest neighbour, a deterministic regressor.

Each predicts one body per person and is measured like a model with M = 1. They know the 40,000 first lab persons (mean
and neighbour) or the training data of `lite-lab` (regressor); none sees wild labels.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, rest_joints, vertices
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.person_errors import Predicted
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import Evidence, predict
from hmralign.fitting.keypoint_update import RefinementConfig, place
from hmralign.fitting.placement import place_in_image
from hmralign.models.context import keypoint_features
from hmralign.models.limb_features import rescaled_keypoints
from hmralign.models.lite import LiteConfig
from hmralign.models.person_frame import person_frame
from hmralign.models.regressor import PoseRegressor, mirrored_average, regression_loss
from hmralign.structures import BodyParams, Observation
from hmralign.training.base_batches import SyntheticBatches, codec_examples
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import open_all_shards
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.step import Part

KNOWN = 40_000
BATCH = 250
Batches = Iterator[tuple[slice, Predicted]]


def _single(joints: torch.Tensor, body_vertices: torch.Tensor | None = None) -> Predicted:
    index = torch.zeros(len(joints), dtype=torch.long)
    return Predicted(joints[:, None], joints, index, body_vertices, body_vertices)


def _parts(observation: Observation) -> Iterator[slice]:
    for start in range(0, len(observation.box), BATCH):
        yield slice(start, min(start + BATCH, len(observation.box)))


class LabMemory:
    """Pelvis-relative joints of the first lab persons in their person frame, and what was observed of them."""

    def __init__(self, data: Path):
        examples = open_split(data, "lab/train").shards[torch.arange(KNOWN)]
        frame = person_frame(examples.observation)
        assert examples.annotation is not None
        joints = examples.annotation.joints @ frame.R_person_cam.mT
        self.joints = joints - joints[:, :1]
        self.points, self.seen = _layout(examples.observation)

    def mean_pose(self, observation: Observation) -> Batches:
        """The same pose for everybody."""
        mean = self.joints.mean(0)
        for part in _parts(observation):
            yield part, _single(self._turned_back(mean.expand(part.stop - part.start, -1, -1), observation[part]))

    def nearest(self, observation: Observation) -> Batches:
        """The pose of the lab person whose keypoints, scaled by their own spread, lie nearest on average."""
        for part in _parts(observation):
            points, seen = _layout(observation[part])
            common = seen @ self.seen.T
            a, b = points * seen[..., None], self.points * self.seen[..., None]
            square = (a.square().sum(-1)) @ self.seen.T + seen @ (b.square().sum(-1)).T
            distance = (square - 2 * a.flatten(1) @ b.flatten(1).T) / common.clamp(min=1)
            distance = torch.where(common >= 5, distance, torch.inf)
            yield part, _single(self._turned_back(self.joints[distance.argmin(1)], observation[part]))

    @staticmethod
    def _turned_back(joints: torch.Tensor, observation: Observation) -> torch.Tensor:
        """Into the `cam` frame, in front of the camera; errors are pelvis-relative, so where does not matter."""
        frame = person_frame(observation)
        return joints @ frame.R_person_cam + frame.R_person_cam[:, 2:3] * 4.0


def _layout(observation: Observation) -> tuple[torch.Tensor, torch.Tensor]:
    """COCO keypoints about their centre in units of their spread, and which were seen."""
    frame = person_frame(observation)
    seen = (observation.confidence > 0).float()
    plane = frame.keypoints_plane.clamp(-3, 3) * seen[..., None]
    rescaled, _ = rescaled_keypoints(plane, observation.confidence)
    return rescaled[:, :17], seen[:, :17]


def train_regressor(config: BaseTrainingConfig, model: LiteConfig, cpu_seconds: float) -> PoseRegressor:
    """On the data of a training configuration, for a time: warm-up, cosine decay, averaged weights."""
    torch.manual_seed(config.seed)
    regressor = PoseRegressor(model)
    regressor.codec.fit(codec_examples(config, open_all_shards(config)))
    batches = iter(SyntheticBatches(config))

    def parts(model: PoseRegressor, _: int) -> Iterator[Part]:
        batch = next(batches)
        yield Part({"loss": regression_loss(model, batch.features, batch.pose_vector, batch.betas)})

    loop = LoopConfig(
        lambda step, done: warm_cosine(step, done, peak=config.learning_rate, warmup=300, floor=0.01),
        steps=None,
        seconds=cpu_seconds,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        clock=time.process_time,
    )
    averaged = Loop(regressor, parts, loop).run()
    assert isinstance(averaged, PoseRegressor)
    return averaged


@torch.no_grad()
def regressed(model: PoseRegressor, observation: Observation) -> Batches:
    """The regressor's bodies, placed like a model's (no refinement)."""
    body, noise, config = load_free_body("3k5"), noise_of("mediapipe"), RefinementConfig(method="none")
    for part in _parts(observation):
        seen = observation[part]
        frame = person_frame(seen)
        x_0, betas = mirrored_average(
            model, keypoint_features(seen, frame), keypoint_features(seen, frame, mirrored=True)
        )
        rotmats = model.codec.to_rotmats(x_0, rest_joints(body, betas))[:, None]
        points = predict(body, rotmats, betas[:, None], noise.offsets, derivatives=False).points
        residual = place(points, Evidence(frame.keypoints_tan, seen.confidence, noise), config)
        placed: BodyParams = place_in_image(body, rotmats, betas[:, None], points, residual, seen, frame)[:, 0]
        yield part, _single(posed_joints(body, placed), vertices(body, placed))
