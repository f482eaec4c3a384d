"""Training of the deterministic regressor on persons whose bodies are known.

    persons -> observation -> regressor -> body in the full image -> errors of parameters, joints, projected joints

Source: VL-feedback (paper 003), eq. 1 and sec. IV-A (20 epochs, batch 128, rate 1e-5). The weights of its terms are not
given; the defaults are those of the same group's CloseInt (Huang et al. 2024). Departures: joints are compared relative
to the pelvis, since where the person stands is what the reprojection is for; projected joints are compared in units of
half the crop, as in CLIFF, so that a person counts alike however large; every square is a mean, not a sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.dataset import open_dataset
from hmralign.data.pose_file import Split
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.poses import PoseMix
from hmralign.geometry.cameras import CROP_MARGIN, project
from hmralign.geometry.rotations import rotmat_to_rot6d
from hmralign.models.full_image_checkpoint import save_regressor
from hmralign.models.full_image_regressor import FullImageConfig, FullImageRegressor, RegressedBody, placed_body
from hmralign.models.paper.image_input import require_crops
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.storage.whole_file import write_json
from hmralign.structures import MASK_SIZE, BodyParams, Example, InputError, Observation, TensorRecord
from hmralign.structures.counted import counted
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve
from hmralign.training.falling_run import falling_loop
from hmralign.training.loop import Loop
from hmralign.training.pose_draws import pose_source, pose_sources
from hmralign.training.step import Part

_AT_ONCE = 2000
_NEAREST = 0.1
"""Metres: joints that a wrong camera puts nearer, or behind itself, are projected from here, so that the loss is
finite."""


@dataclass(frozen=True)
class RegressorData:
    """Persons with pictures, for a regressor that looks at pixels."""

    dataset: str
    """One of `data.names.DATASETS`."""
    folder: str
    split: str


@dataclass(frozen=True)
class RegressorTrainingConfig:
    """One regressor."""

    model: FullImageConfig = field(default_factory=FullImageConfig)
    persons: int = 200_000
    """Synthetic persons that are made before training and drawn from; not for a regressor that looks at pixels."""
    synthetic: SyntheticMix = field(default_factory=lambda: SyntheticMix(known_camera_share=1.0))
    """What they are like. Intrinsics are known: a guessed one puts the projected joints elsewhere."""
    poses: PoseMix = field(default_factory=PoseMix)
    pose_file: str | None = None
    """Motion-capture poses; without it all poses come from the shipped prior."""
    measured_noise: str = "mediapipe"
    """Detector whose residuals are replayed."""
    data: RegressorData | None = None
    """Where persons with pictures lie; needed where, and only where, the trunk is `pixels`."""
    pose_weight: float = 1.0
    """Weight of the rotations, six numbers each."""
    shape_weight: float = 1e-3
    joint_weight: float = 5.0
    """Weight of the joints, square metres."""
    reprojection_weight: float = 10.0
    """Weight of the projected joints, in squares of half the crop."""
    batch_size: int = 128
    """Persons per step."""
    steps: int = 20_000
    learning_rate: float = 1e-5
    """Peak, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    held_out: int = 2000
    """Persons in poses of the held-out split, on whom the errors of the end are measured."""
    save_every: int = 1000
    """Steps between states to resume from."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.batch_size, self.steps, self.save_every, self.held_out) < 1 or self.persons < 10:
            raise InputError(
                "regressor training: batch_size, steps, save_every and held_out must be at least 1, persons at least 10"
            )
        weights = (self.pose_weight, self.shape_weight, self.joint_weight, self.reprojection_weight)
        if min(weights) < 0 or not sum(weights) > 0:
            raise InputError(f"regressor training: weights are {weights}; expected none below 0, and one above")
        if self.synthetic.known_camera_share != 1.0:
            raise InputError("regressor training: synthetic.known_camera_share must be 1")
        if self.data is not None and self.model.trunk != "pixels":
            raise InputError("regressor training: data are pictures, which the trunk 'keypoints' does not look at")


@dataclass(frozen=True)
class KnownPersons(TensorRecord):
    """Persons with their bodies; masks are left out, which the trunks do not read."""

    keypoints: Float[Tensor, "n 27 2"]
    confidence: Float[Tensor, "n 27"]
    box: Float[Tensor, "n 4"]
    K: Float[Tensor, "n 3 3"]
    body: BodyParams
    crop: Tensor | None = None

    @staticmethod
    def of(example: Example, *, pixels: bool) -> KnownPersons:
        """The persons of examples with annotations. Raises InputError where pixels are wanted and absent."""
        seen = example.observation
        assert example.annotation is not None
        crop = require_crops(seen) if pixels else None
        return KnownPersons(seen.keypoints, seen.confidence, seen.box, seen.K, example.annotation.body, crop)

    @property
    def observation(self) -> Observation:
        """What the regressor sees."""
        n, place = len(self.box), self.box.device
        known, none = (torch.full((n,), flag, device=place) for flag in (True, False))
        mask = torch.zeros(n, MASK_SIZE, MASK_SIZE, device=place)
        has_crop = None if self.crop is None else known
        return Observation(
            self.keypoints, self.confidence, self.box, self.K, known, mask, none, self.crop, has_crop
        )  # fmt: skip


def regressor_terms(
    body: BodyModel, found: RegressedBody, truth: BodyParams, observation: Observation
) -> dict[str, Float[Tensor, " person"]]:
    """The three terms of eq. 1, the first in two: mean squares of each person, not weighed."""
    placed = placed_body(body, found, observation)
    joints, true_joints = (posed_joints(body, b)[:, :NUM_JOINTS] for b in (placed, truth))  # (B, 24, 3)
    relative, true_relative = joints - joints[:, :1], true_joints - true_joints[:, :1]
    rot6d = rotmat_to_rot6d(found.rotmats) - rotmat_to_rot6d(truth.rotmats)
    half = CROP_MARGIN * (observation.box[:, 2:] - observation.box[:, :2]).amax(-1) / 2
    ahead = torch.cat([joints[..., :2], joints[..., 2:].clamp(min=_NEAREST)], dim=-1)
    pixels = project(ahead, observation.K) - project(true_joints, observation.K)  # (B, 24, 2)
    return {
        "pose": rot6d.square().mean((-2, -1)),
        "shape": (found.betas - truth.betas).square().mean(-1),
        "joints": (relative - true_relative).square().sum(-1).mean(-1),
        "reprojection": (pixels / half[:, None, None]).square().sum(-1).mean(-1),
    }


def synthetic_persons(config: RegressorTrainingConfig, split: Split, count: int) -> KnownPersons:
    """Persons in poses of a split. Raises InputError as the pose file and the noise do."""
    source = pose_source(config.poses, config.pose_file or None, split)
    maker = Generator(load_free_body("3k5"), source, config.synthetic, load_measured_noise(config.measured_noise))
    parts = []
    for number, start in enumerate(range(0, count, _AT_ONCE)):
        draw = seeded(config.seed, "regressor persons", split, number)
        parts.append(KnownPersons.of(maker.sample(min(_AT_ONCE, count - start), draw), pixels=False))
    return KnownPersons.cat(parts)


def regressor_persons(config: RegressorTrainingConfig) -> tuple[KnownPersons, KnownPersons]:
    """Persons to train on, and others for the errors of the end.

    Of persons with pictures the last tenth are the others. Raises InputError where pictures are needed and not named,
    and where there are too few of them.
    """
    if config.model.trunk == "keypoints":
        return (
            synthetic_persons(config, "train", config.persons),
            synthetic_persons(config, "val", config.held_out),
        )
    if config.data is None:
        raise InputError(
            "regressor training: the trunk 'pixels' looks at pictures; expected --data DIR, or `data` in the "
            "configuration"
        )
    persons = open_dataset(config.data.dataset, Path(config.data.folder), config.data.split)
    known = KnownPersons.of(persons.examples, pixels=True)
    last = max(1, len(known.box) // 10)
    if len(known.box) < 2:
        raise InputError(f"{persons.name}: has {counted(len(known.box), 'person')}; expected at least 2")
    return known[: len(known.box) - last], known[len(known.box) - last :]


def train_regressor(
    config: RegressorTrainingConfig, persons: KnownPersons, folder: Path, device: str | torch.device = "cpu"
) -> FullImageRegressor:
    """Train, resuming from `folder`; returns the averaged model, on the CPU.

    Writes `state.pt` and `curve.jsonl`. A step depends on the seed and its number alone. Raises InputError for states
    that are damaged or of another model; RuntimeError where the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    body, known = load_free_body("3k5").to(torch.device(device)), persons.to(device)
    torch.manual_seed(derived_seed(config.seed, "weights"))
    model = FullImageRegressor(config.model)
    weights = {
        "pose": config.pose_weight, "shape": config.shape_weight, "joints": config.joint_weight,
        "reprojection": config.reprojection_weight,
    }  # fmt: skip

    def parts(model: FullImageRegressor, step: int) -> Iterator[Part]:
        drawn = torch.randint(len(persons.box), (config.batch_size,), generator=seeded(config.seed, "step", step))
        batch = known[drawn.to(device)]
        terms = regressor_terms(body, model(batch.observation), batch.body, batch.observation)
        yield Part(terms, weights, figures={name: float(term.detach().mean()) for name, term in terms.items()})

    curve = Curve(folder / "curve.jsonl", clock="cpu_seconds", said_every=500)
    averaged = Loop(
        model, parts, falling_loop(config, device, clip_norm=config.clip_norm), state=folder / "state.pt", curve=curve
    ).run()
    assert isinstance(averaged, FullImageRegressor)
    return averaged.eval().requires_grad_(False)


@torch.no_grad()
def regressor_figures(model: FullImageRegressor, persons: KnownPersons) -> dict[str, float]:
    """Mean errors on persons: pelvis-relative joints (m), distance of the pelvis (m), projected joints (half crops)."""
    body, totals = load_free_body("3k5"), []
    for some in torch.arange(len(persons.box)).split(_AT_ONCE):
        known = persons[some]
        seen = known.observation
        found = model(seen)
        terms = regressor_terms(body, found, known.body, seen)
        placed = placed_body(body, found, seen)
        ours, truth = (posed_joints(body, b)[:, :NUM_JOINTS] for b in (placed, known.body))
        error = ((ours - ours[:, :1]) - (truth - truth[:, :1])).norm(dim=-1).mean(-1)
        away = (ours[:, 0] - truth[:, 0]).norm(dim=-1)
        totals.append(torch.stack([error, away, terms["reprojection"].sqrt()], dim=-1))
    mpjpe, pelvis, pixels = torch.cat(totals).mean(0).tolist()
    return {"mpjpe_m": mpjpe, "pelvis_m": pelvis, "reprojection_half_crops": pixels, "persons": float(len(persons.box))}


def train_regressor_file(config: RegressorTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """`train_regressor`, written with its configuration and its errors on other persons into the folder."""
    persons, others = regressor_persons(config)
    model = train_regressor(config, persons, folder, device)
    write_training_config(folder / "config.yaml", config)
    write_json(folder / "held_out.json", regressor_figures(model, others))
    skeleton = load_free_body("3k5").skeleton_hash
    return save_regressor(folder / "regressor.safetensors", model, skeleton, sources=_sources(config))


def _sources(config: RegressorTrainingConfig) -> tuple[str, ...]:
    """What a regressor of this configuration is trained on."""
    if config.data is not None:
        return (config.data.split,)
    return pose_sources(config.pose_file)
