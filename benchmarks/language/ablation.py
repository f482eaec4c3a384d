"""What keypoints and words buy in refinement: the ablation of VL feedback (Table II) on SynthWild, with controls.

    hmralign bench --out runs/synthwild --splits wild/val wild/test
    python benchmarks/language/ablation.py --data runs/synthwild --split wild/val --refiner FILE [--gaussian FILE]

Every row refines the same persons from the same first answer; differences to the first answer are paired, with 95 %
bootstrap intervals over persons (each person's mean over the seeds, which draw hypotheses, captions and their errors
anew). Choices are made on wild/val; the table is of wild/test. Writes docs/results/language_refinement.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, NUM_JOINTS
from hmralign.data.dataset import open_dataset
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import fused_group
from hmralign.hypotheses.fusion import score_weights
from hmralign.language.agreement import agreement, holds, wanted
from hmralign.language.caption import caption
from hmralign.language.planted import exchanged, planted_errors
from hmralign.language.statements import STATEMENTS
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, plane_and_depth_errors
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.language.refiner import CONDITIONS, Refiner
from hmralign.models.language.refiner_checkpoint import load_refiner, refiner_path
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.refinement.guide import StatementGuide
from hmralign.refinement.inversion import InversionConfig
from hmralign.refinement.pull import PullConfig
from hmralign.refinement.refine import RefineConfig, refine
from hmralign.refinement.trust import believed
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams, Example, Hypotheses, PersonGroup

ROOT = Path(__file__).resolve().parents[2]
FRAMES = ("body", "camera")
"""Nothing is said of which way is up: the cameras are tilted, and nobody tells the refinement how."""
RATES = (0.1, 0.2, 0.3, 0.5)
LIMBS = [f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "knee", "ankle")]
MEASURES = ("pa", "mpjpe", "plane", "depth", "hidden")


@dataclass(frozen=True)
class Setup:
    """Persons with a first answer and what is said of them, for one seed."""

    example: Example
    fit: PersonFit
    group: PersonGroup
    hypotheses: Hypotheses
    initial: BodyParams
    texts: dict[str, Tensor]
    refiner: Refiner | None
    gaussian: Refiner | None
    seed: int


Row = Callable[[Setup], BodyParams]


def texts_of(example: Example, initial: BodyParams, body, seed: int) -> dict[str, Tensor]:
    """Wanted statements by kind of description."""
    draw, truth = seeded(seed, "captions"), example.annotation
    assert truth is not None
    joints = truth.joints[:, :NUM_JOINTS]
    true = caption(joints, draw, truth.body.rotmats, frames=FRAMES)
    held = [[STATEMENTS[i].id for i in row.nonzero()[:, 0]] for row in holds(joints, truth.body.rotmats)]
    texts = {"true": true}
    for rate in RATES:
        texts[f"errors {rate}"] = [planted_errors(t, rate, draw, h) for t, h in zip(true, held, strict=True)]
    own = posed_joints(body, initial)[:, :NUM_JOINTS]
    texts["initial"] = caption(own, draw, initial.rotmats, frames=FRAMES)
    texts["exchanged"] = exchanged(true, draw)
    return {name: wanted(each) for name, each in texts.items()}


def setup_of(example: Example, policy: LitePolicy, start: str, args, models, seed: int) -> Setup:
    """First answers: the fused one of a group, or the zero-noise mode as it is sampled."""
    seen = example.observation
    fit = PersonFit.of(policy.body, seen, policy.noise)
    proposed = policy.propose(seen, SamplerConfig(args.hypotheses), seeded(seed, "hypotheses"))
    group = fit.refined(proposed)
    first = fused_group(fit, group) if start == "fused" else PersonGroup(proposed.rotmats[:, :1], proposed.betas[:, :1])
    initial = fit.bodies(first)[:, 0]
    texts = texts_of(example, initial, policy.body, seed)
    return Setup(example, fit, group, fit.hypotheses(group), initial, texts, *models, seed)


def guided(
    text: str | None = None,
    *,
    keypoints: bool = True,
    refiner: bool = False,
    conditions: tuple[str, ...] = CONDITIONS,
    doubt: bool = True,
    trust: bool = False,
    gaussian: bool = False,
    **config,
) -> Row:
    """A row of `refine`."""

    def run(s: Setup) -> BodyParams:
        said = None if text is None else s.texts[text]
        if said is not None and trust:
            said = believed(said, s.hypotheses)
        pull = replace(PULL, **({} if keypoints else {"keypoint_weight": 0.0}), **({} if text else {"text_weight": 0.0}))
        shown = tuple(c for c in conditions if (c != "text" or text) and (c != "keypoints" or keypoints))
        settings = RefineConfig(pull=pull, conditions=shown, **config)
        model = s.gaussian if gaussian else s.refiner if refiner else None
        initial = mean_body(s) if gaussian else s.initial
        draw = seeded(s.seed, "start noise")
        found = refine(
            initial, s.fit, None if said is None else StatementGuide(said), settings,
            refiner=model, doubt=s.group if doubt else None, generator=draw,
        )  # fmt: skip
        return found.refined

    return run


def mean_body(s: Setup) -> BodyParams:
    """The body that a refiner without a first answer starts from: that of its training, kept in its card."""
    raise NotImplementedError


def filtered(text: str) -> Row:
    """The hypothesis that agrees best with what is said."""

    def run(s: Setup) -> BodyParams:
        best = scores(s, text).argmax(1)
        return s.hypotheses.body[torch.arange(len(best)), best]

    return run


def weighed(text: str, temperature: float = 1.0, trust: bool = False) -> Row:
    """The fused answer, hypotheses weighed by what is said of them."""

    def run(s: Setup) -> BodyParams:
        said = believed(s.texts[text], s.hypotheses) if trust else s.texts[text]
        guide = StatementGuide(said)
        members = [s.hypotheses[:, m] for m in range(s.group.num_hypotheses)]
        loss = torch.stack([guide.loss(h.joints[:, :NUM_JOINTS], h.body.rotmats) for h in members], dim=1)
        return s.fit.bodies(fused_group(s.fit, s.group, score_weights(-loss, temperature)))[:, 0]

    return run


def scores(s: Setup, text: str) -> Tensor:
    """Agreement of each hypothesis."""
    members = [s.hypotheses[:, m] for m in range(s.group.num_hypotheses)]
    said = s.texts[text]
    return torch.stack([agreement(h.joints[:, :NUM_JOINTS], said, h.body.rotmats) for h in members], dim=1)


PULL = PullConfig()
