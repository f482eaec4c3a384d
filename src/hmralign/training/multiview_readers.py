"""Training of the networks that read views: the judge on true renders, the skeleton network also on faulty ones.

    judge     smooth distance of joints in pixels + 0.1 (distance / s + 2 log s), s the standard error it states
    skeleton  BCE of soft skeleton maps, those that faulty views deserve; beside it, joints read off the true maps

Both see single views, mirrored in half of the cases. They share neither persons nor seed: a judge that errs where the
reward errs would judge nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import Split
from hmralign.data.synthetic.poses import PoseMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.metrics.image_quality import psnr, ssim
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.models.multiview.corruption import Corruption, corrupted
from hmralign.models.multiview.judge import Judge, JudgeConfig, ViewReader
from hmralign.models.multiview.reader_checkpoint import save_judge, save_skeleton
from hmralign.models.multiview.skeleton_maps import skeleton_maps
from hmralign.models.multiview.skeleton_network import MapFeatures, SkeletonNetwork, SkeletonNetworkConfig
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.ring_persons import Kind, RingPersons, drawn_ring_persons, joint_pixels, mirrored_view
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve
from hmralign.training.falling_run import falling_loop
from hmralign.training.loop import Loop
from hmralign.training.pose_draws import pose_source, pose_sources
from hmralign.training.step import Part


@dataclass(frozen=True)
class ReaderTrainingConfig:
    """What both trainings have."""

    poses: PoseMix = field(default_factory=PoseMix)
    views: ViewMix = field(default_factory=ViewMix)
    ring: RingCameras = field(default_factory=RingCameras)
    pose_file: str | None = None
    """Motion-capture poses; without it all poses come from the shipped prior and from postures."""
    persons: int = 9_000
    """Persons drawn once, from whom every batch is taken."""
    kind: Kind = "all"
    """Poses that are trained on."""
    batch_size: int = 48
    """Single views per step."""
    steps: int = 4500
    """Optimiser steps."""
    learning_rate: float = 2e-3
    """Peak, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 0.01
    ema_decay: float = 0.995
    save_every: int = 500
    """Steps between states to resume from."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.batch_size, self.steps, self.save_every, self.persons) < 1:
            raise InputError("reader training: batch_size, steps, save_every and persons must be at least 1")


@dataclass(frozen=True)
class JudgeTrainingConfig(ReaderTrainingConfig):
    """Training of the judge."""

    model: JudgeConfig = field(default_factory=JudgeConfig)
    seed: int = 7_001


@dataclass(frozen=True)
class SkeletonTrainingConfig(ReaderTrainingConfig):
    """Training of the skeleton network."""

    model: SkeletonNetworkConfig = field(default_factory=SkeletonNetworkConfig)
    faults: Corruption = field(default_factory=Corruption)
    line_width: float = 0.8
    """Standard deviation across a bone, pixels."""
    steps: int = 3000
    seed: int = 3_001


def reader_persons(config: ReaderTrainingConfig, split: Split, count: int, kind: Kind = "all") -> RingPersons:
    """Persons of a split and a kind for a configuration. Raises InputError as the pose file does."""
    source = pose_source(config.poses, config.pose_file, split)
    draw = seeded(config.seed, "persons", split)
    return drawn_ring_persons(load_free_body("3k5"), source, config.views, config.ring, count, draw, kind)


def judge_losses(
    reader: ViewReader, pixels: Float[Tensor, "n 4 h w"], places: Float[Tensor, "n 24 2"]
) -> Float[Tensor, "n 24"]:
    """Loss of each joint; the stated error does not change what the places learn."""
    read, log_error = reader(pixels)
    distance = (read - places).square().sum(-1).add(1e-4).sqrt()
    return distance + 0.1 * (distance.detach() * (-log_error).exp() + 2 * log_error)


def skeleton_losses(
    networks: Any, pixels: Float[Tensor, "n 4 h w"], places: Float[Tensor, "n 24 2"], faults: Corruption,
    line_width: float, generator: torch.Generator,
) -> dict[str, Tensor]:  # fmt: skip
    """Terms: BCE of the maps (nats per pixel, times 10), and the distance of joints read off maps (pixels)."""
    maps = skeleton_maps(places, pixels.shape[-1], line_width)
    seen, deserved = corrupted(pixels, maps, faults, generator)
    bce = nn.functional.binary_cross_entropy_with_logits(networks["network"](seen), deserved, reduction="none")
    found = networks["features"].joints(maps)
    return {"maps": 10 * bce.mean((-3, -2, -1)), "joints": (found - places).square().sum(-1).add(1e-4).sqrt()}


Losses = Callable[[Any, Tensor, Tensor, torch.Generator], dict[str, Tensor]]


def _trained(
    model: nn.Module, losses: Losses, bank: RingPersons, config: ReaderTrainingConfig, folder: Path, device: Any
) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    views, places = bank.pixels.flatten(0, 1), joint_pixels(bank.joints, config.ring).flatten(0, 1)

    def parts(model: Any, step: int) -> Iterator[Part]:
        draw = seeded(config.seed, "step", step)
        drawn = torch.randint(len(views), (config.batch_size,), generator=draw)
        pixels, where = views[drawn].float(), places[drawn]
        flip = torch.rand(len(drawn), generator=draw) < 0.5
        pixels[flip], where[flip] = mirrored_view(pixels[flip], where[flip])
        model.train()
        terms = losses(model, pixels.to(device), where.to(device), draw)
        yield Part(terms, figures={name: float(term.detach().mean()) for name, term in terms.items()})

    curve = Curve(folder / "curve.jsonl", clock="cpu_seconds", said_every=200)
    loop = falling_loop(config, device)
    return Loop(model, parts, loop, state=folder / "state.pt", curve=curve).run().eval().requires_grad_(False)


def train_judge(config: JudgeTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """Train the judge, resuming from `folder`; returns the checkpoint. Errors as the loop's."""
    torch.manual_seed(derived_seed(config.seed, "weights"))
    reader = ViewReader(config.model).to(memory_format=torch.channels_last)  # pyright: ignore
    bank = reader_persons(config, "train", config.persons, config.kind)

    def losses(model: Any, pixels: Tensor, places: Tensor, _: torch.Generator) -> dict[str, Tensor]:
        return {"joints": judge_losses(model, pixels, places)}

    trained = _trained(reader, losses, bank, config, folder, device)
    write_training_config(folder / "config.yaml", config)
    return save_judge(
        folder / "judge.safetensors", trained, load_free_body("3k5").skeleton_hash, pose_sources(config.pose_file)
    )


def train_skeleton(config: SkeletonTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """Train the networks of PoseScore, resuming from `folder`; returns the checkpoint."""
    torch.manual_seed(derived_seed(config.seed, "weights"))
    both = nn.ModuleDict({"network": SkeletonNetwork(config.model), "features": MapFeatures(config.model)})
    bank = reader_persons(config, "train", config.persons, config.kind)

    def losses(model: Any, pixels: Tensor, places: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        return skeleton_losses(model, pixels, places, config.faults, config.line_width, draw)

    trained = _trained(both.to(memory_format=torch.channels_last), losses, bank, config, folder, device)  # pyright: ignore
    write_training_config(folder / "config.yaml", config)
    return save_skeleton(
        folder / "skeleton.safetensors",
        trained["network"],
        trained["features"],
        load_free_body("3k5").skeleton_hash,
        pose_sources(config.pose_file),
    )


def judge_on_ring(reader: ViewReader, ring: RingCameras) -> Judge:
    """The judge of a ring's views."""
    return Judge(reader, ring.rotations, ring.pixels_per_metre)


@torch.no_grad()
def judge_quality(judge: Judge, persons: RingPersons) -> dict[str, Float[Tensor, " person"]]:
    """What the judge reads off true views, metres per person: the reference of all that it says of made ones."""
    read = judge(persons.pixels.float())
    return {"mpjpe": mpjpe(read, persons.joints, root=0), "pa_mpjpe": pa_mpjpe(read, persons.joints)}


@torch.no_grad()
def skeleton_quality(
    network: SkeletonNetwork, persons: RingPersons, ring: RingCameras, line_width: float
) -> dict[str, Float[Tensor, " person"]]:
    """PSNR and SSIM of maps, and the distance of a bone's centre of mass from the true one's, metres, per person."""
    target = skeleton_maps(joint_pixels(persons.joints, ring), ring.size, line_width)
    maps = torch.cat([network(some.float()).sigmoid() for some in persons.pixels.split(32)])
    axis = torch.arange(ring.size, dtype=torch.float32)

    def centres(of: Tensor) -> Tensor:
        share = of / of.sum((-2, -1), keepdim=True).clamp(min=1e-6)
        return torch.stack([(share.sum(-2) * axis).sum(-1), (share.sum(-1) * axis).sum(-1)], -1)

    off = (centres(maps) - centres(target)).norm(dim=-1) / ring.pixels_per_metre
    return {
        "psnr": psnr(maps, target).mean(-1),
        "ssim": ssim(maps, target).mean(-1),
        "localisation": off.mean((-2, -1)),
    }
