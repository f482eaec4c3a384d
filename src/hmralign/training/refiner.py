"""Training of the refiner: persons whose first answer is off, and what keypoints and words say against it.

    person, first answer -> x_0 = truth - answer -> (t, eps) -> x_t
    estimate of x_0 (none, or the network's own) -> gradients there -> prediction of x_0 -> loss

Source: VL feedback, sec. II-D; loss weights are of our own. Each condition is hidden from a share of the persons, so
that a refiner can be asked without it; descriptions are cut short, and some are wrong, as those of a model are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.diffusion.parameterization import add_noise
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import KeypointNoise
from hmralign.fitting.person_fit import PersonFit
from hmralign.geometry.rotations import mean_rotmat
from hmralign.models.checkpoint import load_checkpoint, trained_on
from hmralign.models.language.body_offset import BodyOffset
from hmralign.models.language.refiner import CONDITIONS, Refiner, RefinerConfig
from hmralign.models.language.refiner_checkpoint import save_refiner
from hmralign.refinement.energy import Energy
from hmralign.refinement.guide import StatementGuide
from hmralign.refinement.prior import condition_of
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.structures.device import chosen_device
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve, five_decimals
from hmralign.training.falling_run import falling_loop
from hmralign.training.loop import Loop
from hmralign.training.pose_draws import pose_sources
from hmralign.training.refiner_pool import PoolConfig, RefinerPersons, refiner_pool
from hmralign.training.step import Part

_MEASURED = 4000
"""Persons on whom the scales of offsets and gradients are measured."""

_JOINT_UNIT = 0.1
"""Metres: errors of joints are measured in it, so that they weigh about as much as those of the offset."""


@dataclass(frozen=True)
class RefinerTrainingConfig:
    """One refiner."""

    model: RefinerConfig = field(default_factory=RefinerConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    start: Literal["initial", "gaussian"] = "initial"
    """What x_0 is the offset from: the first answer, or the pool's mean body (Table II, "standard Gaussian")."""
    start_from: str | None = None
    """State of another run (`state.pt`) whose average this one starts from; scales are taken over with it."""
    encoder: str = "lite"
    """Checkpoint whose keypoint encoder is taken over, frozen; that which the pool was read with."""
    hide: float = 0.2
    """Share of persons from whom each of the conditions is hidden."""
    wrong_words: float = 0.15
    """Share of the descriptions in which some statements are another person's."""
    own_estimate: float = 0.5
    """Share of the steps whose gradients are taken at the network's own first estimate instead of at no offset."""
    joints_weight: float = 1.0
    """Weight of the squared error of joints, in units of 10 cm."""
    batch_size: int = 256
    """Persons per step."""
    steps: int = 3000
    """Optimiser steps."""
    learning_rate: float = 1e-3
    """Peak, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    save_every: int = 500
    """Steps between states to resume from."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.batch_size, self.steps, self.save_every) < 1:
            raise InputError("refiner training: batch_size, steps and save_every must be at least 1")
        for name in ("hide", "wrong_words", "own_estimate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"refiner training: {name} must be in 0..1, got {getattr(self, name)}")


def around_of(persons: RefinerPersons, scale: Float[Tensor, " 154"]) -> BodyOffset:
    """Offsets from what was answered first."""
    return BodyOffset(persons.start.rotmats, persons.start.betas, scale.expand(len(persons.betas), -1))


def from_mean_body(
    pool: RefinerPersons, rotmats: Float[Tensor, "24 3 3"], betas: Float[Tensor, " betas"]
) -> RefinerPersons:
    """The pool with one and the same first answer for everybody."""
    start = replace(pool.start, rotmats=rotmats.expand_as(pool.rotmats), betas=betas.expand_as(pool.betas))
    return replace(pool, start=start)


def described(
    wanted: Float[Tensor, "n statements"], wrong: float, generator: torch.Generator
) -> Float[Tensor, "n statements"]:
    """Descriptions cut short by a random share; in some, a random share of the statements is the next person's."""
    count, statements = wanted.shape
    wrongly = (torch.rand(count, 1, generator=generator) < wrong) * torch.rand(count, 1, generator=generator)
    others = torch.rand(count, statements, generator=generator) < wrongly
    mixed = torch.where(others, wanted.roll(1, 0), wanted)
    kept = torch.rand(count, 1, generator=generator).sqrt()
    return mixed * (torch.rand(count, statements, generator=generator) < kept)


def refiner_parts(
    model: Refiner,
    body: BodyModel,
    noise: KeypointNoise,
    persons: RefinerPersons,
    config: RefinerTrainingConfig,
    draw: torch.Generator,
) -> Part:
    """Unreduced losses of a batch."""
    count, device = len(persons.betas), persons.betas.device
    said = described(persons.wanted.float().cpu(), config.wrong_words, draw)
    guide = StatementGuide(said.to(device))
    energy = Energy(PersonFit.of(body, persons.observation, noise), persons.start, guide)
    around = around_of(persons, model.scale)
    x_0 = around.from_body(persons.rotmats, persons.betas)
    t = torch.randint(model.schedule.num_steps, (count,), generator=draw).to(device)
    x_t = add_noise(x_0, torch.randn(x_0.shape, generator=draw).to(device), model.schedule.at(t))
    shown = (torch.rand(count, len(CONDITIONS), generator=draw) >= config.hide).float().to(device)
    estimate = torch.zeros_like(x_0)
    condition = condition_of(energy, around, estimate, persons.context, shown)
    if float(torch.rand((), generator=draw)) < config.own_estimate:
        with torch.no_grad():
            estimate = model(x_t, t, estimate, condition).clamp(-5, 5)
        condition = condition_of(energy, around, estimate, persons.context, shown)
    predicted = model(x_t, t, estimate, condition)
    joints, truth = (_joints(body, *each) for each in (around.to_body(predicted), (persons.rotmats, persons.betas)))
    terms = {
        "offset": (predicted - x_0).square().mean(-1),
        "joints": ((joints - truth) / _JOINT_UNIT).square().sum(-1).mean(-1),
    }
    return Part(
        terms, {"joints": config.joints_weight}, figures={k: float(v.mean().detach()) for k, v in terms.items()}
    )


def _joints(body: BodyModel, rotmats: Tensor, betas: Tensor) -> Float[Tensor, "n 24 3"]:
    """Metres from the pelvis, person frame."""
    _, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)
    return joints[:, :NUM_JOINTS] - joints[:, :1]


@torch.no_grad()
def measure_scales(model: Refiner, body: BodyModel, noise: KeypointNoise, pool: RefinerPersons) -> None:
    """Set the scales of offsets (standard deviations) and of gradients (median lengths) from persons of the pool."""
    some = pool[torch.arange(0, len(pool.betas), max(1, len(pool.betas) // _MEASURED))]
    away = around_of(some, torch.ones(model.scale.shape)).from_body(some.rotmats, some.betas)
    model.scale.copy_(away.square().mean(0).sqrt().clamp(min=0.02))
    energy = Energy(PersonFit.of(body, some.observation, noise), some.start, StatementGuide(some.wanted.float()))
    points = energy.point_gradient(some.start.rotmats, some.start.betas).norm(dim=-1)
    turns = energy.text_and_turn_gradient(some.start.rotmats, some.start.betas)[1].norm(dim=-1)
    model.gradient_scale.copy_(torch.stack([points[points > 0].median(), turns[turns > 0].median()]))


def train_refiner(
    config: RefinerTrainingConfig,
    folder: Path,
    pool: RefinerPersons | None = None,
    device: str | torch.device = "cpu",
) -> Refiner:
    """Train, resuming from `folder`; on a pool that is at hand, or on that of the configuration.

    Writes `state.pt` and `curve.jsonl`. A step depends on the seed and its number alone. Raises InputError for states
    that are damaged or of another model, and for an encoder of another width; RuntimeError for a loss not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool = refiner_pool(config.pool, config.seed) if pool is None else pool
    torch.manual_seed(derived_seed(config.seed, "weights"))
    own_body, noise = load_free_body("3k5"), noise_of(config.pool.measured_noise)
    model, body = Refiner(config.model), own_body.to(chosen_device(device))
    model.mean_rotmats.copy_(mean_rotmat(pool.rotmats.movedim(0, 1)))
    model.mean_betas.copy_(pool.betas.mean(0))
    pool = from_mean_body(pool, model.mean_rotmats, model.mean_betas) if config.start == "gaussian" else pool
    _take_encoder(model, config.encoder, own_body.skeleton_hash)
    measure_scales(model, own_body, noise, pool)

    def parts(model: Refiner, step: int) -> Iterator[Part]:
        draw = seeded(config.seed, "step", step)
        drawn = torch.randint(len(pool.betas), (config.batch_size,), generator=draw)
        yield refiner_parts(model, body, noise, pool[drawn].to(body.v_template.device), config, draw)

    curve = Curve(folder / "curve.jsonl", columns=("loss", "offset", "joints"), rounded=five_decimals, said_every=500)
    loop = Loop(
        model,
        parts,
        falling_loop(config, device, clip_norm=config.clip_norm, log_every=50, clock=time.perf_counter),
        state=folder / "state.pt",
        curve=curve,
    )
    if config.start_from and not (folder / "state.pt").exists():
        loop.begin_from(Path(config.start_from))
    averaged = loop.run()
    assert isinstance(averaged, Refiner)
    return averaged.requires_grad_(False)


def _take_encoder(model: Refiner, checkpoint: str, skeleton_hash: str) -> None:
    lite = load_checkpoint(checkpoint, skeleton_hash)
    if lite.config.context_width != model.config.context_width or lite.config.architecture != "mlp":
        raise InputError(f"the encoder of '{checkpoint}' is not one of {model.config.context_width} channels")
    model.encoder.load_state_dict(lite.encoder.state_dict())
    model.encoder.requires_grad_(False)


def train_refiner_file(
    config: RefinerTrainingConfig,
    folder: Path,
    pool: RefinerPersons | None = None,
    device: str | torch.device = "cpu",
) -> Path:
    """`train_refiner`, written with its configuration into the folder. Errors as there."""
    refiner = train_refiner(config, folder, pool, device)
    write_training_config(folder / "config.yaml", config)
    hash_ = load_free_body("3k5").skeleton_hash
    return save_refiner(folder / "refiner.safetensors", refiner, hash_, sources=refiner_sources(config))


def refiner_sources(config: RefinerTrainingConfig) -> tuple[str, ...]:
    """What a refiner of this configuration is trained on, its encoder and the first answers included."""
    own = pose_sources(config.pool.pose_file)
    others = (config.encoder, *(answer.checkpoint for answer in config.pool.answers))
    return tuple(dict.fromkeys([*own, *(source for other in others for source in trained_on(other))]))
