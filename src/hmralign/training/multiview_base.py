"""Training of the multi-view base: views of synthetic persons from their front, by the squared error of x_0.

Persons are drawn and rendered once and kept; each is seen mirrored half of the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import Split
from hmralign.data.synthetic.poses import PoseMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.models.multiview.view_transformer import ViewTransformer, ViewTransformerConfig
from hmralign.policies.multiview import SCALE, MultiViewPolicy
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.ring_persons import Kind, RingPersons, drawn_ring_persons, half_mirrored, turned_persons
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.pose_draws import pose_source, pose_sources
from hmralign.training.step import Part


@dataclass(frozen=True)
class MultiViewTrainingConfig:
    """One base."""

    model: ViewTransformerConfig = field(default_factory=ViewTransformerConfig)
    poses: PoseMix = field(default_factory=PoseMix)
    views: ViewMix = field(default_factory=ViewMix)
    ring: RingCameras = field(default_factory=RingCameras)
    pose_file: str | None = None
    """Motion-capture poses; without it all poses come from the shipped prior and from postures."""
    persons: int = 20_000
    """Persons drawn once, from whom every batch is taken."""
    kind: Kind = "all"
    """Poses that the base is trained on."""
    turned: float = 0.0
    """Share of the persons whose ring begins at another of its views, drawn at random, which is their front then."""
    front_joints_weight: float = 0.0
    """Weight of what the front's reader errs by in square metres, beside the loss of views; needs `front_reader`."""
    bfloat16: bool = False
    """Whether products are of half the digits: a quarter more persons a second where the processor has them."""
    batch_size: int = 16
    steps: int = 12_000
    """Optimiser steps."""
    max_cpu_minutes: float | None = None
    """The run also ends after so many minutes of the processor in steps."""
    learning_rate: float = 5e-4
    """Peak of AdamW, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    ema_decay: float = 0.998
    save_every: int = 250
    """Steps between states to resume from."""
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.batch_size, self.steps, self.save_every, self.persons) < 1:
            raise InputError("multi-view training: batch_size, steps, save_every and persons must be at least 1")
        if (self.model.views, self.model.size) != (self.ring.num_views, self.ring.size):
            raise InputError("multi-view training: model and ring differ in the number or the size of views")
        if not 0 <= self.turned <= 1:
            raise InputError(f"multi-view training: turned is {self.turned}; expected a share of 0 to 1")
        if self.front_joints_weight < 0 or (self.front_joints_weight and not self.model.front_reader):
            raise InputError(
                f"multi-view training: front_joints_weight is {self.front_joints_weight}; expected 0 or more, and a "
                "model with front_reader where it is more"
            )
        even = tuple(360.0 * view / self.ring.num_views for view in range(self.ring.num_views))
        needing = [name for name, given in (("shows_front", self.model.shows_front), ("turned", self.turned)) if given]
        if needing and self.ring.azimuths != even:
            raise InputError(
                f"multi-view training: {needing[0]} needs azimuths {even}, the ring has {self.ring.azimuths}"
            )


def view_persons(
    config: MultiViewTrainingConfig, count: int, purpose: str, split: Split = "train", kind: Kind = "all"
) -> RingPersons:
    """Persons in poses of a split and a kind; for another purpose they are other persons."""
    source = pose_source(config.poses, config.pose_file, split)
    names = (purpose,) if split == "train" else (purpose, split)
    draw = seeded(config.seed, "multi-view persons", *names)
    return drawn_ring_persons(load_free_body("3k5"), source, config.views, config.ring, count, draw, kind)


def base_view_loss(policy: Any, persons: RingPersons, generator: torch.Generator) -> Float[Tensor, " person"]:
    """The base's loss for one time and noise each, half of the persons mirrored."""
    return _view_loss(policy, half_mirrored(persons, generator), generator)


def _view_loss(policy: Any, persons: RingPersons, generator: torch.Generator) -> Float[Tensor, " person"]:
    place = next(policy.parameters()).device
    pixels = persons.pixels
    x_0 = policy.from_views(pixels)[:, None]
    steps = policy.schedule.num_steps
    n = len(pixels)
    strata = (torch.randperm(n, generator=generator) + torch.rand(n, generator=generator)) / n
    t = (strata * steps).long().clamp(max=steps - 1)[:, None]
    eps = torch.randn(x_0.shape, generator=generator)
    context = policy.context(pixels[:, 0].to(place))
    return policy.view_loss(x_0.to(place), t.to(place), eps.to(place), context)[:, 0] / SCALE**2


def front_joint_loss(policy: Any, persons: RingPersons) -> Float[Tensor, " person"]:
    """Square metres by which the joints that the policy's `front_reader` reads off the fronts err."""
    place = next(policy.parameters()).device
    read = policy.network.reader.joints(persons.pixels[:, 0].to(place))
    return (read - persons.joints.to(place)).square().mean((1, 2))


def train_multiview(config: MultiViewTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """Train, resuming from `folder`; returns the checkpoint. Errors as the loop's."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(derived_seed(config.seed, "weights"))
    policy = MultiViewPolicy(ViewTransformer(config.model))
    bank = view_persons(config, config.persons, "base", kind=config.kind)

    def parts(policy: Any, step: int) -> Iterator[Part]:
        draw = seeded(config.seed, "step", step)
        some = bank[torch.randint(len(bank.joints), (config.batch_size,), generator=draw)]
        if config.turned:
            some = turned_persons(some, config.ring, config.turned, draw)
        some = half_mirrored(some, draw)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.bfloat16):
            terms = {"loss": _view_loss(policy, some, draw)}
            if config.front_joints_weight:
                terms["front_joints"] = front_joint_loss(policy, some)
        figures = {name: float(term.detach().float().mean()) for name, term in terms.items() if name != "loss"}
        terms = {name: term.float() for name, term in terms.items()}
        yield Part(terms, {"front_joints": config.front_joints_weight}, figures=figures)

    def rate(step: int, done: float) -> float:
        return warm_cosine(step, done, peak=config.learning_rate, warmup=100, floor=0.02)

    loop = LoopConfig(
        rate=rate,
        steps=config.steps,
        seconds=None if config.max_cpu_minutes is None else 60 * config.max_cpu_minutes,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        log_every=50,
        save_every=config.save_every,
        device=device,
        clock=time.process_time,
    )
    curve = Curve(folder / "curve.jsonl", clock="cpu_seconds", said_every=200)
    trained = Loop(policy, parts, loop, state=folder / "state.pt", curve=curve).run()
    write_training_config(folder / "config.yaml", config)
    return trained.save(folder / "multiview.safetensors", pose_sources(config.pose_file))
