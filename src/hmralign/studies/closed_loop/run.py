"""The closed loop in one go: groups on wild persons without labels, a critic, two ways to align, and what it brought.

    persons -> groups of lite-lab -> scores of the learned scorer -> best-of-N and DPO -> before against after

Persons on whom it is measured have poses of clips that nothing here has seen, and are read by nobody else.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.evaluation.person_errors import Truth, person_errors
from hmralign.evaluation.summary import interval_mm
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.store import GroupStore
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import Example, InputError
from hmralign.studies.closed_loop.persons import TEST_SEED, TRAIN_SEED, DrawnSource, drawn_persons
from hmralign.systems.align.checkpoint import align_checkpoint
from hmralign.systems.align.configuration import AlignConfig, recommended
from hmralign.systems.evaluate.predict import PredictConfig, predict_in_batches

logger = logging.getLogger("hmralign.loop")

CRITIC = "scorer-lab"
"""Has seen no label of these persons, and moves the model where keypoints alone do not (docs/results/alignment.md)."""

MARKER = ".closed_loop"
"""File that says that a folder is a loop's own."""

COLUMNS = ("single", "selected", "fused", "min_of_10", "fused_pa", "fused_depth", "spread")


@dataclass(frozen=True)
class ClosedLoopConfig:
    """Size of the loop."""

    checkpoint: str = "lite-lab"
    """Where it starts."""
    groups: int = 1000
    """Persons without labels that groups are sampled for."""
    group_size: int = 16
    """Hypotheses per person."""
    steps: int = 300
    """Optimiser steps of each method."""
    persons: int = 300
    """Persons that base and aligned models are measured on."""
    num_hypotheses: int = 20
    """Hypotheses per measured person (M)."""
    seed: int = 0
    """Seed of samples and training."""

    def __post_init__(self) -> None:
        """Raise InputError for sizes with which nothing can be learned or measured."""
        for name, least in (("groups", 2), ("group_size", 2), ("steps", 1), ("persons", 2), ("num_hypotheses", 2)):
            if getattr(self, name) < least:
                raise InputError(f"closed loop: {name} is {getattr(self, name)}; expected at least {least}")

    def methods(self) -> dict[str, AlignConfig]:
        """The two ways to align, by name. No loop is too small: its report shows what it brought."""
        configs = {"best-of-N": recommended("best-of-n", critic=CRITIC), "DPO": recommended("dpo", critic=CRITIC)}
        return {
            name: replace(c, min_persons=1, training=replace(c.training, steps=self.steps, seed=self.seed))
            for name, c in configs.items()
        }


@dataclass(frozen=True)
class ClosedLoop:
    """What the loop found; `errors` are metres per person and column, by model and then by kind of answer."""

    folder: Path
    store: GroupStore
    test: Example
    models: dict[str, str]
    """Checkpoints by name, the base first."""
    errors: dict[str, dict[str, dict[str, Float[np.ndarray, " persons"]]]]
    stopped: dict[str, str | None]
    seconds: dict[str, float]
    config: ClosedLoopConfig


def run_closed_loop(out: Path, config: ClosedLoopConfig, device: str | torch.device = "cpu") -> ClosedLoop:
    """Run everything into `out`, which is replaced where it holds an earlier loop.

    Raises InputError for a folder that holds something else.
    """
    _make_room(out, config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are too small to gain from more, and lose much where cores are busy
    try:
        return _run(out, config, device)
    finally:
        torch.set_num_threads(threads)


def _run(out: Path, config: ClosedLoopConfig, device: str | torch.device) -> ClosedLoop:
    body = load_free_body("3k5").to(device)
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    source = DrawnSource(drawn_persons(config.groups, TRAIN_SEED, "train"))
    settings = GroupStoreConfig(group_size=config.group_size, seed=config.seed)
    start = open_policy(config.checkpoint, body)
    store = build_groups(
        start.diffusion(), body, start.sha256, start.trained_on, source, out / "groups", settings, [CRITIC]
    )
    seconds["groups"] = time.perf_counter() - started
    models, stopped = {"base": config.checkpoint}, {}
    for name, method in config.methods().items():
        started = time.perf_counter()
        done = align_checkpoint(store.folder, config.checkpoint, method, out / name.replace(" ", "_"), device=device)
        models[name], stopped[name] = str(done.path), done.result.stopped
        seconds[name] = time.perf_counter() - started
    started = time.perf_counter()
    test = drawn_persons(config.persons, TEST_SEED, "heldout")
    errors = {name: measured(path, body, test, config) for name, path in models.items()}
    seconds["measuring"] = time.perf_counter() - started
    found = ClosedLoop(out, store, test, models, errors, stopped, seconds, config)
    write_json(out / "metrics.json", metrics(found))
    return found


def require_room(out: Path) -> None:
    """Raise InputError for a folder that holds anything but an earlier loop."""
    if out.exists() and any(p.suffix != ".part" for p in out.iterdir()) and not (out / MARKER).is_file():
        raise InputError(f"{out}: holds something that is no closed loop; use another folder")


def _make_room(out: Path, config: ClosedLoopConfig) -> None:
    """Remove what an earlier loop wrote, and nothing else; the marker is written first and stays."""
    require_room(out)
    for name in ("groups", *(n.replace(" ", "_") for n in config.methods())):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("metrics.json", "report.html"):
        (out / name).unlink(missing_ok=True)
    write_whole(out / MARKER, "Written by hmralign demo, which replaces what is in this folder.\n")


def predict_config(config: ClosedLoopConfig, refine: bool) -> PredictConfig:
    """Samples as they are, or refined as `recover` does."""
    predict = PredictConfig(sampler=SamplerConfig(num_hypotheses=config.num_hypotheses), seed=config.seed)
    return predict if refine else replace(predict, refinement=RefinementConfig(method="none"))


def measured(path: str, body: BodyModel, test: Example, config: ClosedLoopConfig) -> dict[str, dict[str, np.ndarray]]:
    """Errors per person of one model, which is opened on the device of `body`, with and without refinement."""
    policy = open_policy(path, body).policy
    assert test.annotation is not None
    found = {}
    for kind, refine in (("samples", False), ("refined", True)):
        parts = []
        for part, predicted in predict_in_batches(policy, test.observation, predict_config(config, refine)):
            truth = Truth(test.annotation.joints[part], vertices(body.to("cpu"), test.annotation.body[part]))
            parts.append(person_errors(predicted, truth, tuple(m for m in (10,) if m <= config.num_hypotheses)))
        names = [c for c in COLUMNS if c in parts[0]]
        found[kind] = {name: torch.cat([p[name] for p in parts]).double().numpy() for name in names}
    return found


def metrics(loop: ClosedLoop) -> dict[str, Any]:
    """Means with intervals and paired differences to the base, mm."""
    table: dict[str, Any] = {}
    for name, kinds in loop.errors.items():
        table[name] = {}
        for kind, columns in kinds.items():
            base = loop.errors["base"][kind]
            table[name][kind] = {
                "mm": {c: interval_mm(bootstrap_mean(v)) for c, v in columns.items()},
                "minus base": {c: interval_mm(paired_difference(v, base[c])) for c, v in columns.items()},
            }
    return {
        "format_version": 1,
        "persons": loop.config.persons,
        "num_hypotheses": loop.config.num_hypotheses,
        "groups": len(loop.store),
        "group_size": loop.store.facts.group_size,
        "critic": CRITIC,
        "models": loop.models,
        "stopped": loop.stopped,
        "seconds": {k: round(v, 1) for k, v in loop.seconds.items()},
        "results": table,
    }
