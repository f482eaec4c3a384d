"""Errors of a policy on observed persons, one number per person and column, samples as they are and refined.

    samples (once) -> refined or not -> bodies -> one answer -> errors

| column | what |
| --- | --- |
| `single`, `zero_noise`, `fused`, `min_of_10`, `*_pa`, `*_pve`, `fused_plane`, `fused_depth`, `spread` | as published |
| `selected` | the hypothesis that reprojection likes best |
| `selected_scorer` | the one that the scorer likes best |
| `weighted_T` | the answer made with the scorer's scores as weights, temperature T |
| `fused_visible`, `fused_hidden` | joints of the one answer with and without an observed keypoint; NaN without any |

As published: as `hmralign evaluate` has them (`evaluation.person_errors`). Vertices are computed for the one answer
only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.critics.by_rule import CriticWeights
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import Critic, judge
from hmralign.data.synthwild_folder import BenchmarkSplit
from hmralign.evaluation.person_errors import Predicted, Truth, person_errors
from hmralign.evaluation.visibility import errors_by_visibility, hidden_joints, nearest_keypoints
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import check_observation, fused_bodies, proposed
from hmralign.hypotheses.fusion import score_weights
from hmralign.metrics.joint_errors import mpjpe
from hmralign.policies.policy import BodyProposer
from hmralign.structures import BodyParams, Example, Hypotheses, Observation, PersonGroup
from hmralign.systems.evaluate.predict import PredictConfig, evaluation_draws

Kind = Literal["raw", "refined"]
Columns = dict[str, Float[np.ndarray, "..."]]
"""One number per person, by name of the column."""

BY_REPROJECTION = CriticWeights(reprojection=1.0, silhouette=0.0, plausibility=0.0)
"""Who selects here: every row is judged by the same cheap critic."""


BODIES_AT_ONCE = 1000
"""Bodies that are measured in one batch: more of them leave the processor's cache, and take longer."""


def persons_at_once(hypotheses: int) -> int:
    """Persons of a batch."""
    return max(1, BODIES_AT_ONCE // hypotheses)


@dataclass(frozen=True)
class MeasureConfig:
    """What is measured."""

    predict: PredictConfig = field(default_factory=lambda: PredictConfig(selection=BY_REPROJECTION))
    """How persons are predicted; its `refinement` is that of the kind `refined`."""
    kinds: tuple[Kind, ...] = ("raw", "refined")
    """Samples as they are, or moved onto the keypoints."""
    min_of: tuple[int, ...] = (10,)
    """Oracle columns."""
    temperatures: tuple[float, ...] = ()
    """Temperatures of the fusion weighted by the scorer; none without a scorer."""
    answers: bool = True
    """Whether there is anything but the oracle columns."""


@dataclass(frozen=True)
class Persons:
    """Persons of known truth with what is computed of them only once, however many models are measured."""

    split: BenchmarkSplit | None
    """That they are of; None for persons of a store."""
    observation: Observation
    truth: Truth
    hidden: Bool[Tensor, "person 24"]
    """Joints without an observed keypoint."""

    @staticmethod
    def of(split: BenchmarkSplit, body: BodyModel, batch: int = 100) -> Persons:
        """True meshes are computed in batches."""
        return replace(Persons.of_examples(split.examples, body, batch), split=split)

    @staticmethod
    def of_examples(examples: Example, body: BodyModel, batch: int = 100) -> Persons:
        """The same of any persons with annotations."""
        assert examples.annotation is not None
        truth, count = examples.annotation.body, len(examples.observation.box)
        meshes = torch.cat([vertices(body, truth[start : start + batch]) for start in range(0, count, batch)])
        hidden = hidden_joints(nearest_keypoints(body), examples.observation)
        return Persons(None, examples.observation, Truth(examples.annotation.joints, meshes), hidden)

    def __len__(self) -> int:
        return len(self.observation.box)

    def to(self, device: str | torch.device) -> Persons:
        """On a device; the split stays where it is."""
        return Persons(self.split, self.observation.to(device), self.truth.to(device), self.hidden.to(device))

    def __getitem__(self, part: slice) -> Persons:
        """Some of them; the split stays."""
        return Persons(self.split, self.observation[part], self.truth[part], self.hidden[part])


@torch.no_grad()
def measure_persons(
    policy: BodyProposer, persons: Persons, config: MeasureConfig, scorer: Critic | None = None
) -> tuple[dict[Kind, Columns], float]:
    """Columns of each kind (metres), and the CPU seconds that this took; computed where the policy's body is.

    The noise of each person is that of `hmralign evaluate`, so that the batch size does not matter. Raises
    InputError for persons without observations, and as the critics do.
    """
    started = time.process_time()
    judges = _Judges(make_critic("reprojection", policy.body, config.predict.detector), scorer)
    found: dict[Kind, list[dict[str, Tensor]]] = {kind: [] for kind in config.kinds}
    for start in range(0, len(persons), config.predict.batch):
        part = persons[start : start + config.predict.batch].to(policy.body.device)
        for kind, answers in _answers(policy, part.observation, start, config):
            found[kind].append(_columns(answers, part, config, judges))
    joined: dict[Kind, Columns] = {
        kind: {name: torch.cat([p[name] for p in parts]).double().cpu().numpy() for name in parts[0]}
        for kind, parts in found.items()
    }
    return joined, time.process_time() - started


@dataclass(frozen=True)
class _Judges:
    """Who selects and weighs."""

    reprojection: Critic
    scorer: Critic | None


@dataclass(frozen=True)
class _Answers:
    """Groups of one batch, from which bodies are made."""

    fit: PersonFit
    group: PersonGroup

    def fused(self, weights: Float[Tensor, "person hyp"] | None = None) -> BodyParams:
        """The one answer, in the `cam` frame."""
        return fused_bodies(self.fit, self.group, weights)


def _answers(
    policy: BodyProposer, seen: Observation, start: int, config: MeasureConfig
) -> Iterator[tuple[Kind, _Answers]]:
    """The samples of a batch whose first person has the number `start`, drawn once, as each kind has them."""
    check_observation(seen)
    predict = config.predict
    draws = evaluation_draws(predict.seed, range(start, start + len(seen.box)))
    group = proposed(policy, seen, predict.sampler, draws)
    fit = PersonFit.of(policy.body, seen, noise_of(predict.detector))
    for kind in config.kinds:
        refinement = predict.refinement if kind == "refined" else RefinementConfig(method="none")
        of_kind = fit.refining_by(refinement)
        yield kind, _Answers(of_kind, of_kind.refined(group))


def _columns(answers: _Answers, persons: Persons, config: MeasureConfig, judges: _Judges) -> dict[str, Tensor]:
    hypotheses = answers.fit.hypotheses(answers.group)
    if not config.answers:
        return _oracle_columns(hypotheses.joints, persons.truth.joints, config.min_of)
    body, fused, truth = answers.fit.body, answers.fused(), persons.truth
    joints = posed_joints(body, fused)
    selected = judge(judges.reprojection, hypotheses, Example(persons.observation)).argmax(1)
    predicted = Predicted(hypotheses.joints, joints, selected, fused_vertices=vertices(body, fused))
    columns = person_errors(predicted, truth, config.min_of)
    visible, hidden = errors_by_visibility(joints, truth.joints, persons.hidden)
    columns |= {"fused_visible": visible, "fused_hidden": hidden}
    if judges.scorer is not None:
        columns |= _with_scorer(answers, hypotheses, persons, config, judges.scorer)
    return columns


def _with_scorer(
    answers: _Answers, hypotheses: Hypotheses, persons: Persons, config: MeasureConfig, scorer: Critic
) -> dict[str, Tensor]:
    """Columns of what a scorer picks, and of answers that it weighs."""
    truth = persons.truth.joints[:, :NUM_JOINTS]
    scores = judge(scorer, hypotheses, Example(persons.observation))
    picked = hypotheses.joints[torch.arange(len(scores)), scores.argmax(1), :NUM_JOINTS]
    columns = {"selected_scorer": mpjpe(picked, truth, root=0)}
    for temperature in config.temperatures:
        joints = posed_joints(answers.fit.body, answers.fused(score_weights(scores, temperature)))[:, :NUM_JOINTS]
        columns[weighted_column(temperature)] = mpjpe(joints, truth, root=0)
    return columns


def _oracle_columns(
    joints: Float[Tensor, "person hyp joint 3"], truth: Float[Tensor, "person joint 3"], min_of: tuple[int, ...]
) -> dict[str, Tensor]:
    each = mpjpe(joints[:, :, :NUM_JOINTS], truth[:, None, :NUM_JOINTS], root=0)
    return {f"min_of_{m}": each[:, :m].amin(1) for m in min_of}


def weighted_column(temperature: float) -> str:
    """Name of the column of that temperature."""
    return f"weighted_{temperature:g}"
