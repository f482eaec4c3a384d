"""Groups whose hypotheses another system predicted: file -> bodies of the free skeleton -> store -> critics.

What becomes of a prediction, by what its file gives (`carried_over`):

    skeleton  rotations  betas                                    place
    free      as given   as given                                 `transl`
    smpl      as given   as long as `rest_joints`, `joints`, or   the shared joints on `joints`; without them the pelvis
                         the mean shape without either            on `transl` + SMPL's rest pelvis
    any       of `joints` alone: the bones along them, no twist   as for smpl

Joint-based critics judge the system's own 24 joints where it gives them, or where its rest joints and rotations make
them; everything that needs a surface (keypoints, silhouette, mesh) judges the body that was carried over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.inverse_kinematics import joints_twists_to_pose
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.retarget import BONE_SPANS, ROTATING_SPANS, SHARED_JOINTS, fit_betas, span_lengths
from hmralign.body.skeleton import NUM_JOINTS, NUM_TWISTS, PARENTS
from hmralign.critics.names import CriticChoice
from hmralign.data.prediction_file import PredictionFile
from hmralign.preferences.build import GroupStoreConfig, checked_critics, score_by_all
from hmralign.preferences.person_source import SourceBatch, as_stored, whole_blocks
from hmralign.preferences.store import GroupStore, StoreFacts, writing
from hmralign.structures import BodyParams, Example, Hypotheses, InputError, PreferenceGroups

logger = logging.getLogger("hmralign.groups")

SMPL_REST_PELVIS = (-0.0018, -0.2233, 0.0282)
"""Pelvis of the neutral SMPL body of mean shape at rest, metres; used only where a file says nothing better."""

_SHARED = tuple(joint for joint in SHARED_JOINTS if joint < NUM_JOINTS)


@dataclass(frozen=True)
class PredictionSource:
    """Persons of a prediction file, with what was predicted of them; names are those of the file."""

    predictions: PredictionFile
    body: BodyModel

    has_truth = False

    @property
    def name(self) -> str:
        """After the file."""
        return f"predictions:{self.predictions.path.stem}"

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return self.predictions.sha256

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """The persons alone, so that another model's groups can be made of the same ones."""
        for groups in self.groups(size, done):
            yield SourceBatch(groups.ids, groups.example)

    def groups(self, size: int, done: Set[str]) -> Iterator[PreferenceGroups]:
        """Persons that are not `done`, with their hypotheses. Raises InputError where a part of a block is done."""
        for block in whole_blocks(self.predictions.ids, size, done):
            part = self.predictions[block]
            with torch.no_grad():
                hypotheses = carried_over(part, self.body)
            yield PreferenceGroups(part.ids, None, hypotheses, Example(as_stored(part.observation)))


def build_prediction_groups(
    predictions: PredictionFile,
    folder: Path,
    critics: Sequence[CriticChoice] = (),
    *,
    predicted_by: str,
    body: BodyModel,
    shard_size: int = 64,
    correlation: float = 0.5,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> GroupStore:
    """Store and score; continues a store of the same facts, and does nothing where all is done.

    `predicted_by` names the system; `body` is the free body that predictions are carried over to; `seed` and
    `correlation` are for critics that draw; the critics judge on `device`.

    Raises InputError for one hypothesis per person, no name, critics that need truth, a store of other facts,
    and as the critics do.
    """
    size = predictions.num_hypotheses
    if size < 2:
        raise InputError(
            f"{predictions.path}: has one hypothesis per person, which can be compared but makes no preference group; "
            "expected at least 2"
        )
    if not predicted_by.strip():
        raise InputError("predicted_by is empty; expected the name of the system that predicted")
    config = GroupStoreConfig(
        group_size=size, detector=predictions.detector, shard_size=shard_size, correlation=correlation, seed=seed
    )
    judges = checked_critics(critics, body, config)
    source = PredictionSource(predictions, body)
    facts = StoreFacts(
        checkpoint_sha256="",
        trained_on=(),
        skeleton_hash=body.skeleton_hash,
        mesh_hash=body.mesh_hash,
        source=source.name,
        source_sha256=source.sha256,
        group_size=size,
        sampler_steps=config.num_steps,  # nothing was sampled: what a model that is trained on them samples with
        detector=predictions.detector,
        seed=seed,
        shard_size=shard_size,
        predicted_by=predicted_by,
        retargeted=predictions.skeleton == "smpl",
        options=how_carried_over(predictions),
    )
    with writing(folder, facts) as store:
        for groups in source.groups(shard_size, store.done()):
            store.append(groups)
            logger.info("%d groups", len(store))
        score_by_all(store, judges, body.to(device), config)
    return GroupStore.open(folder)  # the writer may not outlive the lock


def how_carried_over(predictions: PredictionFile) -> dict[str, Any]:
    """In words, for the record: where rotations, betas, places and joints come from."""
    own = _own_joints(predictions[:1]) is not None
    free = predictions.skeleton == "free" and predictions.rotmats is not None
    if free:
        betas = "zero" if predictions.betas is None else "as predicted"
    elif predictions.rest_joints is not None:
        betas = "fitted to limbs, shoulders and trunk of the rest joints"
    else:
        betas = "zero" if predictions.joints is None else "fitted to thighs, shanks and arms of the joints"
    by_joints = predictions.transl is None or (own and not free)
    place = "SMPL's mean rest pelvis + transl" if predictions.skeleton == "smpl" else "transl"
    return {
        "skeleton": predictions.skeleton,
        "rotations": "as predicted" if predictions.rotmats is not None else "along the joints; twist unknown, zero",
        "betas": betas,
        "place": "shared joints on the predicted ones" if by_joints else place,
        "joints": "24 as predicted, 5 of the body carried over" if own else "of the body carried over",
    }


def carried_over(predictions: PredictionFile, body: BodyModel) -> Hypotheses:
    """Predictions as bodies of `body`, `cam` frame, metres; `joints` are the system's own 24 where it has them."""
    own = _own_joints(predictions)
    betas = _betas(predictions, body)
    rotmats = predictions.rotmats
    if rotmats is None:
        assert predictions.joints is not None  # as a `PredictionFile` promises
        rotmats = along_joints(predictions.joints, body, betas)
    params = BodyParams(rotmats[..., 0, :, :], rotmats[..., 1:, :, :], betas, torch.zeros_like(betas[..., :3]))
    joints = posed_joints(body, params)
    transl = _place(predictions, own, joints)
    joints = joints + transl[..., None, :]
    if own is not None:
        joints = torch.cat([own, joints[..., NUM_JOINTS:, :]], dim=-2)
    return Hypotheses(params.with_transl(transl), joints)


def along_joints(
    joints: Float[Tensor, "*batch 24 3"], body: BodyModel, betas: Float[Tensor, "*batch 10"]
) -> Float[Tensor, "*batch 24 3 3"]:
    """Rotations whose bones point along the joints with zero twist: how a limb turns about itself is not known.

    Head, hands and feet, whose ends are missing, stay as at rest relative to what carries them.
    """
    ends = joints[..., list(PARENTS[NUM_JOINTS:]), :]  # bones of no length keep their rest direction
    twists = torch.tensor([1.0, 0.0]).to(joints).expand(*joints.shape[:-2], NUM_TWISTS, 2)
    return joints_twists_to_pose(torch.cat([joints, ends], dim=-2), twists, rest_joints(body, betas))


def _own_joints(predictions: PredictionFile) -> Float[Tensor, "person hyp 24 3"] | None:
    """The system's 24 joints in the `cam` frame: given, or its rest joints turned by its rotations."""
    rest, rotmats, transl = predictions.rest_joints, predictions.rotmats, predictions.transl
    if predictions.joints is not None or rest is None or rotmats is None or transl is None:
        return predictions.joints
    ends = rest[..., list(PARENTS[NUM_JOINTS:]), :]
    posed = forward_kinematics(torch.cat([rest, ends], dim=-2), rotmats, PARENTS)[1]
    return posed[..., :NUM_JOINTS, :] + transl[..., None, :]


def _betas(predictions: PredictionFile, body: BodyModel) -> Float[Tensor, "person hyp 10"]:
    """The shapes of the free body. SMPL's own say nothing about it: its shapes are others."""
    if predictions.skeleton == "free" and predictions.rotmats is not None and predictions.betas is not None:
        return predictions.betas
    by_size = predictions.skeleton == "smpl" or predictions.rotmats is None
    if by_size and predictions.rest_joints is not None:
        return fit_betas(body, span_lengths(predictions.rest_joints, ROTATING_SPANS), ROTATING_SPANS)
    if by_size and predictions.joints is not None:
        return fit_betas(body, span_lengths(predictions.joints, BONE_SPANS), BONE_SPANS)
    return torch.zeros(len(predictions), predictions.num_hypotheses, body.num_betas)


def _place(
    predictions: PredictionFile, own: Tensor | None, unmoved: Float[Tensor, "person hyp 29 3"]
) -> Float[Tensor, "person hyp 3"]:
    """`transl` of the body whose joints are `unmoved` without it."""
    transl, is_free = predictions.transl, predictions.skeleton == "free" and predictions.rotmats is not None
    if transl is not None and (is_free or own is None):
        return transl if is_free else transl + torch.tensor(SMPL_REST_PELVIS) - unmoved[..., 0, :]
    assert own is not None  # as a `PredictionFile` promises
    return (own[..., list(_SHARED), :] - unmoved[..., list(_SHARED), :]).mean(-2)
