"""Training of the gate that tells exchanged sides: synthetic persons whose sides are right are all it needs.

Exchanging the sides of half of the persons would teach nothing more: the gate's answer for exchanged keypoints is that
for the keypoints as they are with the other sign, by construction, and so is its loss. What else goes wrong with
keypoints stays in, legs or arms alone exchanged included, so that the gate learns to live with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import Split
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.observation_noise import Failures, load_measured_noise
from hmralign.data.synthetic.poses import PoseMix
from hmralign.models.side_gate import FACE, SideGate, SideGateConfig, SideGateNetwork, save_side_gate, side_features
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve, five_decimals
from hmralign.training.falling_run import falling_loop
from hmralign.training.loop import Loop
from hmralign.training.pose_draws import pose_source, pose_sources
from hmralign.training.step import Part

MIX = SyntheticMix(failures=Failures(swap_all=0.0), box_only_share=0.0)
"""Persons whose whole body surely has its sides right."""

_AT_ONCE = 2000


@dataclass(frozen=True)
class SideGateTrainingConfig:
    """One gate."""

    model: SideGateConfig = field(default_factory=SideGateConfig)
    data: SyntheticMix = MIX
    poses: PoseMix = field(default_factory=PoseMix)
    pose_file: str | None = None
    """Motion-capture poses; without it all poses come from the shipped prior."""
    measured_noise: tuple[str, ...] = ("mediapipe_heavy", "mediapipe")
    """Detectors whose residuals are replayed, each for an equal share of the persons."""
    hidden_face: float = 0.5
    """Share of persons whose nose, eyes and ears are hidden: they are what differs most between renders and photos."""
    persons: int = 400_000
    """Persons that are made before training and drawn from: making one takes three times as long as a step with it."""
    batch_size: int = 512
    """Persons per step."""
    steps: int = 3000
    """Optimiser steps."""
    learning_rate: float = 1e-3
    """Peak, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    calibration_persons: int = 20000
    """Persons in poses of the held-out split, on whom the scale is fitted."""
    save_every: int = 500
    """Steps between states to resume from."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.batch_size, self.steps, self.save_every) < 1 or min(self.persons, self.calibration_persons) < 100:
            raise InputError(
                "gate training: batch_size, steps and save_every must be at least 1, persons and calibration_persons "
                "at least 100"
            )
        if not self.measured_noise:
            raise InputError("gate training: measured_noise names no detector")
        if not 0 <= self.hidden_face <= 1:
            raise InputError("gate training: hidden_face must be in 0..1")
        if self.data.failures.swap_all != 0 or self.data.box_only_share != 0:
            raise InputError("gate training: data.failures.swap_all and data.box_only_share must be 0")


def gate_generators(config: SideGateTrainingConfig, split: Split = "train") -> list[Generator]:
    """One source of persons per detector. Raises InputError as the pose file and the noise do."""
    source = pose_source(config.poses, config.pose_file or None, split)
    body = load_free_body("3k5")
    return [Generator(body, source, config.data, load_measured_noise(name)) for name in config.measured_noise]


def gate_inputs(config: SideGateTrainingConfig, split: Split, count: int) -> Float[Tensor, "person features"]:
    """Network inputs of `count` persons of a split, an equal number with the noise of each detector."""
    sources, parts = gate_generators(config, split), []
    for number, start in enumerate(range(0, count, _AT_ONCE)):
        draw = seeded(config.seed, "persons", split, number)
        seen = sources[number % len(sources)].sample(min(_AT_ONCE, count - start), draw).observation
        hide = torch.rand(len(seen.box), 1, generator=draw) < config.hidden_face
        face = torch.zeros(seen.confidence.shape[-1], dtype=torch.bool)
        face[list(FACE)] = True
        parts.append(side_features(replace(seen, confidence=seen.confidence.masked_fill(hide & face, 0.0))))
    return torch.cat(parts)


def side_loss(network: SideGateNetwork, inputs: Float[Tensor, "person features"]) -> Float[Tensor, " person"]:
    """Minus the log probability of what is true, that the sides are right."""
    return torch.nn.functional.softplus(network.difference(inputs))


def train_side_gate(config: SideGateTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> SideGate:
    """Train, resuming from `folder`, and calibrate on persons in held-out poses.

    Writes `state.pt` and `curve.jsonl`. A step depends on the seed and its number alone. Raises InputError for states
    that are damaged or of another model; RuntimeError where the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inputs = gate_inputs(config, "train", config.persons).to(device)
    torch.manual_seed(derived_seed(config.seed, "weights"))
    network = SideGateNetwork(config.model)

    def parts(model: SideGateNetwork, step: int) -> Iterator[Part]:
        drawn = torch.randint(len(inputs), (config.batch_size,), generator=seeded(config.seed, "step", step))
        yield Part({"loss": side_loss(model, inputs[drawn.to(device)])})

    curve = Curve(folder / "curve.jsonl", {}, ("loss",), "cpu_seconds", rounded=five_decimals, said_every=500)
    averaged = Loop(
        network, parts, falling_loop(config, device, clip_norm=config.clip_norm), state=folder / "state.pt", curve=curve
    ).run()
    assert isinstance(averaged, SideGateNetwork)
    averaged.requires_grad_(False)
    held_out = gate_inputs(config, "val", config.calibration_persons)
    return SideGate(averaged, fitted_scale(averaged(held_out)), trained_on=gate_sources(config))


def train_side_gate_file(config: SideGateTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """`train_side_gate`, written with its configuration into the folder. Errors as there."""
    gate = train_side_gate(config, folder, device)
    write_training_config(folder / "config.yaml", config)
    return save_side_gate(folder / "sides.safetensors", gate, load_free_body("3k5").skeleton_hash)


def gate_sources(config: SideGateTrainingConfig) -> tuple[str, ...]:
    """What a gate of this configuration is trained on."""
    return pose_sources(config.pose_file)


def fitted_scale(outputs: Float[Tensor, " person"]) -> float:
    """What outputs of persons whose sides are right must be multiplied by to be the likeliest log odds.

    An intercept is not needed: what is right is as often exchanged as not, and exchanging turns the sign.
    Raises InputError where the outputs say nothing, or the wrong thing.
    """
    x = outputs.double()
    low, high = 0.0, 10.0
    if not bool(torch.isfinite(x).all()) or float(-x.mean()) <= 0:
        raise InputError(
            "the gate's outputs do not tell right sides from exchanged ones; there is nothing to calibrate"
        )
    for _ in range(60):  # the derivative of the mean loss in the scale rises with it: bisection
        middle = (low + high) / 2
        if float((torch.sigmoid(middle * x) * x).mean()) < 0:
            low = middle
        else:
            high = middle
    return round((low + high) / 2, 4)
