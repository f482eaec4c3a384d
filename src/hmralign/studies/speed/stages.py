"""The stages of the package's sentence as pieces of work: persons are drawn, so that nothing but the package is needed.

keypoints -> context -> samples -> bodies -> refined -> drawn -> scored -> stored -> a step of alignment -> errors
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hmralign.alignment.scored_groups import load_groups
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import judge
from hmralign.critics.names import CriticChoice
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import Evidence
from hmralign.fitting.keypoint_update import RefinementConfig, refine_group
from hmralign.metrics.joint_errors import pa_mpjpe
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.person_frame import person_frame
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import SourceBatch
from hmralign.preferences.store import GroupStore
from hmralign.rendering.zbuffer import render
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams, Example, InputError, Observation, PersonGroup
from hmralign.studies.speed.stopwatch import Work
from hmralign.systems.align.configuration import recommended
from hmralign.systems.align.run import step_losses
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.preference import choose_trainable

CRITICS = ("reprojection", "plausibility", "silhouette", "mix", "scorer")
METHODS = ("best-of-n", "dpo", "group", "direct-reward")
CHECKPOINT = "lite"
DETECTOR = "mediapipe"
PERSONS = 16
GROUP = 20
POSES = 2000


@dataclass(frozen=True)
class Stage:
    """One thing that is measured."""

    name: str
    """With its batch and number of hypotheses, such as `sample, 16 persons, M = 20`."""
    work: Work
    items: int
    """How many of `what` a call makes."""
    what: str


def stage_names() -> tuple[str, ...]:
    """Names of the kinds of stages, in order; a choice names some of them."""
    return (
        "observe", "context", "sample", "lift", "refine", "render", *(f"critic {name}" for name in CRITICS), "store",
        *(f"step {name}" for name in METHODS), "metrics",
    )  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Who is worked on, and with what."""

    body: BodyModel
    policy: LitePolicy
    example: Example
    folder: Path

    def persons(self, number: int) -> Example:
        """The first so many."""
        return self.example[torch.arange(number)]

    def group(self, persons: int, hypotheses: int) -> PersonGroup:
        """Samples of some persons."""
        return self.policy.propose(self.persons(persons).observation, SamplerConfig(hypotheses), seeded(0, "bench"))


@contextmanager
def opened_setting() -> Iterator[Setting]:
    """The shipped weights, and persons with the detector's noise; a folder that goes again."""
    body = load_free_body("3k5")
    source = Generator(body, PoseSource(load_pose_prior()), noise=load_measured_noise())
    with tempfile.TemporaryDirectory() as folder, _quietly("hmralign.groups", "hmralign.align"):
        policy = LitePolicy.load(CHECKPOINT, body)
        drawn = source.sample(PERSONS, seeded(0, "bench"))
        yield Setting(body, policy, replace(drawn, observation=_masked(drawn.observation)), Path(folder))


def _masked(observation: Observation) -> Observation:
    """With an upright oval for a mask, so that what looks at masks has something to look at."""
    rows, columns = torch.meshgrid(
        *(torch.linspace(-1, 1, side) for side in observation.mask.shape[-2:]), indexing="ij"
    )
    oval = ((rows / 0.8).square() + (columns / 0.35).square() <= 1).float()
    return replace(
        observation, mask=oval.expand_as(observation.mask).clone(), has_mask=torch.ones_like(observation.has_mask)
    )


@contextmanager
def _quietly(*names: str) -> Iterator[None]:
    """What a stage says of its progress is of no interest to who times it."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def stages(setting: Setting, chosen: tuple[str, ...]) -> Iterator[Stage]:
    """Those of the chosen kinds. Raises InputError for a kind that there is not."""
    for kind in chosen:
        if kind not in stage_names():
            raise InputError(f"there is no stage '{kind}'; expected some of {', '.join(stage_names())}")
    for kind in stage_names():
        if kind in chosen:
            word, _, name = kind.partition(" ")
            yield from _MAKERS[word](setting, *([name] if name else []))


def _observe(setting: Setting) -> Iterator[Stage]:
    source = Generator(setting.body, PoseSource(load_pose_prior()), noise=load_measured_noise())
    yield Stage("observe, 512 persons", lambda: source.sample(512, seeded(0, "bench")), 512, "persons")


def _context(setting: Setting) -> Iterator[Stage]:
    for persons in (1, PERSONS):
        seen = setting.persons(persons).observation
        yield Stage(f"context, {_persons(persons)}", _no_grad(setting.policy.context, seen), persons, "persons")


def _sample(setting: Setting) -> Iterator[Stage]:
    for persons, hypotheses in ((1, 20), (1, 100), (1, 1000), (PERSONS, 20), (PERSONS, 100)):
        seen = setting.persons(persons).observation
        with torch.no_grad():
            context = setting.policy.context(seen)
        work = lambda c=context, m=hypotheses: setting.policy.sample(c, m, seeded(0, "bench"))  # noqa: E731
        yield Stage(f"sample, {_persons(persons)}, M = {hypotheses}", _no_grad(work), persons, "persons")


def _lift(setting: Setting) -> Iterator[Stage]:
    for persons, hypotheses in ((1, 20), (1, 100), (PERSONS, 20)):
        seen = setting.persons(persons).observation
        x_0 = setting.policy.sample(setting.policy.context(seen), hypotheses, seeded(0, "bench")).detach()
        work = _no_grad(setting.policy.to_body, x_0, seen)
        yield Stage(f"lift, {_persons(persons)}, M = {hypotheses}", work, persons * hypotheses, "bodies")
        params = setting.policy.to_body(x_0, seen).body
        skin = _no_grad(vertices, setting.body, params)
        yield Stage(f"skin, {_persons(persons)}, M = {hypotheses}", skin, persons * hypotheses, "bodies")


def _refine(setting: Setting) -> Iterator[Stage]:
    for persons, hypotheses in ((1, 20), (1, 100), (PERSONS, 20)):
        seen = setting.persons(persons).observation
        group = setting.group(persons, hypotheses)
        evidence = Evidence(person_frame(seen).keypoints_tan, seen.confidence, noise_of(DETECTOR))
        work = _no_grad(refine_group, setting.body, group.rotmats, group.betas, evidence, RefinementConfig())
        yield Stage(f"refine, {_persons(persons)}, M = {hypotheses}", work, persons, "persons")


def _render(setting: Setting) -> Iterator[Stage]:
    assert setting.example.annotation is not None
    params: BodyParams = setting.example.annotation.body[torch.arange(GROUP) % PERSONS]
    place = torch.tensor([0.0, 0.0, 3.2])
    K = torch.tensor([[300.0, 0, 128], [0, 300.0, 128], [0, 0, 1]])
    placed = vertices(setting.body, replace(params, transl=place.expand(GROUP, 3)))
    for side in (128, 256, 512):
        scaled = K * torch.tensor([[side / 256], [side / 256], [1.0]])
        work = partial(render, placed, setting.body.faces, scaled, (side, side))
        yield Stage(f"render, {GROUP} bodies, {side} px", work, GROUP, "bodies")


def _critic(setting: Setting, name: str) -> Iterator[Stage]:
    seen = setting.example
    critic = make_critic(name, setting.body, DETECTOR)  # pyright: ignore[reportArgumentType]
    x_0 = setting.policy.sample(setting.policy.context(seen.observation), GROUP, seeded(0, "bench")).detach()
    hypotheses = setting.policy.to_body(x_0, seen.observation)
    work = _no_grad(judge, critic, hypotheses, replace(seen, annotation=None))
    yield Stage(f"critic {name}, {_persons(PERSONS)}, G = {GROUP}", work, PERSONS, "groups")


@dataclass(frozen=True)
class _Source:
    """The persons, as a source of groups."""

    example: Example
    name: str = "bench"
    sha256: str = "0" * 64
    has_truth: bool = True

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """All of them at once."""
        if not done:
            yield SourceBatch(tuple(f"bench/{n}" for n in range(PERSONS)), self.example)


def _built(setting: Setting, place: str, critics: tuple[CriticChoice, ...]) -> GroupStore:
    config = GroupStoreConfig(group_size=GROUP)
    source, sha256 = _Source(setting.example), checkpoint_hash(CHECKPOINT)
    return build_groups(setting.policy, setting.body, sha256, (), source, setting.folder / place, config, critics)


def _store(setting: Setting) -> Iterator[Stage]:
    def work() -> None:
        shutil.rmtree(setting.folder / "store", ignore_errors=True)
        _built(setting, "store", ("reprojection",))

    yield Stage(f"store, {_persons(PERSONS)}, G = {GROUP}, one critic", work, PERSONS, "groups")


def _step(setting: Setting, name: str) -> Iterator[Stage]:
    store = _built(setting, "steps", ("reprojection",))
    groups = load_groups(store, "reprojection", setting.policy, checkpoint_hash(CHECKPOINT))
    config = recommended(name)
    policy = LitePolicy.load(CHECKPOINT, setting.body)
    choose_trainable(policy, config.training)
    losses = step_losses(policy, setting.policy, groups, setting.body, config)
    loop = Loop(policy, losses, LoopConfig(rate=lambda *_: 1e-6, steps=10**9))
    yield Stage(f"step {name}, batch {config.training.batch_size}", loop._take_step, 1, "steps")


def _metrics(setting: Setting) -> Iterator[Stage]:
    draw = seeded(0, "bench")
    one, other = torch.randn(POSES, 14, 3, generator=draw), torch.randn(POSES, 14, 3, generator=draw)
    yield Stage(f"metrics, PA-MPJPE of {POSES} poses", _no_grad(pa_mpjpe, one, other), POSES, "poses")


_MAKERS = {
    "observe": _observe, "context": _context, "sample": _sample, "lift": _lift, "refine": _refine, "render": _render,
    "critic": _critic, "store": _store, "step": _step, "metrics": _metrics,
}  # fmt: skip


def _no_grad(function: Callable[..., Any], *arguments: Any) -> Work:
    return torch.no_grad()(partial(function, *arguments))


def _persons(number: int) -> str:
    return "1 person" if number == 1 else f"{number} persons"
