"""Groups whose hypotheses another system predicted: file -> bodies of the free skeleton -> store -> critics.

What becomes of a prediction, by what its file gives (`carried_over`):

    skeleton  rotations  betas                                    place
    free      as given   as given                                 `transl`
    smpl,     as given   as long as `rest_joints`, `joints`, or   the shared joints on `joints`; without them the pelvis
    smplx                the mean shape without either            on `transl` + the family's rest pelvis
    mhr       a body is fitted to `surface` from a guess by `joints` (`fitting.point_fit`)
    any       of `joints` alone: the bones along them, no twist   as for smpl

With the file of their own body, predictions are posed on it as their system poses them, and carried over limb by limb
(`body.retarget`); where it is the body that is worked on, nothing is carried over at all.

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

from hmralign.adapters.bodies import MEAN_REST_PELVIS
from hmralign.adapters.predictions.rows import has_keypoints
from hmralign.body.inverse_kinematics import joints_twists_to_pose
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.retarget import BONE_SPANS, ROTATING_SPANS, SHARED_JOINTS, fit_betas, retarget, span_lengths
from hmralign.body.skeleton import NUM_JOINTS, NUM_TWISTS, PARENTS
from hmralign.critics.names import CriticChoice
from hmralign.data.prediction_file import PredictionFile
from hmralign.fitting.point_fit import fit_points
from hmralign.preferences.build import GroupStoreConfig, checked_critics, score_by_all
from hmralign.preferences.person_source import SourceBatch, as_stored, whole_blocks
from hmralign.preferences.store import GroupStore, StoreFacts, writing
from hmralign.structures import BodyParams, Example, Hypotheses, InputError, PreferenceGroups

logger = logging.getLogger("hmralign.groups")

_FITTED_AT_ONCE = 256

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
    if not has_keypoints(predictions):
        raise InputError(
            f"{predictions.path}: has persons without keypoints, which critics look at; expected a file with them "
            "(docs/prediction_files.md)"
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
        retargeted=predictions.skeleton != "free",
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
    place = "transl" if predictions.skeleton == "free" else "the family's mean rest pelvis + transl"
    if predictions.surface is not None:
        fitted = "fitted to 27 surface keypoints"
        return {"skeleton": predictions.skeleton, **dict.fromkeys(("rotations", "betas", "place", "joints"), fitted)}
    return {
        "skeleton": predictions.skeleton,
        "rotations": "as predicted" if predictions.rotmats is not None else "along the joints; twist unknown, zero",
        "betas": betas,
        "place": "shared joints on the predicted ones" if by_joints else place,
        "joints": "24 as predicted, 5 of the body carried over" if own else "of the body carried over",
    }


def carried_over(predictions: PredictionFile, body: BodyModel, own_body: BodyModel | None = None) -> Hypotheses:
    """Predictions as bodies of `body`, `cam` frame, metres; `joints` are the system's own 24 where it has them.

    `own_body` is the body that was predicted, where its file is at hand: its joints then count.
    """
    if predictions.surface is not None:
        return fitted_to_surface(predictions, body)
    if own_body is not None and predictions.rotmats is not None and predictions.transl is not None:
        return _posed(predictions, own_body, body)
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


def _posed(predictions: PredictionFile, own_body: BodyModel, body: BodyModel) -> Hypotheses:
    """As the system poses them; without betas, those of the mean shape."""
    rotmats, transl, betas = predictions.rotmats, predictions.transl, predictions.betas
    assert rotmats is not None and transl is not None
    betas = torch.zeros(*transl.shape[:2], own_body.num_betas) if betas is None else betas
    params = BodyParams(rotmats[..., 0, :, :], rotmats[..., 1:, :, :], betas, transl)
    joints = posed_joints(own_body, params)
    if own_body.skeleton_hash == body.skeleton_hash:
        return Hypotheses(params, joints)
    moved = retarget(own_body, params, body)
    return Hypotheses(
        moved, torch.cat([joints[..., :NUM_JOINTS, :], posed_joints(body, moved)[..., NUM_JOINTS:, :]], -2)
    )


def fitted_to_surface(predictions: PredictionFile, body: BodyModel) -> Hypotheses:
    """Bodies fitted to surface keypoints; bones along the joints are where the fit begins."""
    assert predictions.surface is not None and predictions.joints is not None
    persons, hypotheses = predictions.surface.shape[:2]
    joints = predictions.joints.flatten(0, 1)  # (P * H, 24, 3)
    betas = fit_betas(body, span_lengths(joints, BONE_SPANS), BONE_SPANS)
    parts = [
        fit_points(body, along_joints(some, body, shape), shape, points).body
        for some, shape, points in zip(
            *(t.split(_FITTED_AT_ONCE) for t in (joints, betas, predictions.surface.flatten(0, 1))), strict=True
        )
    ]
    fitted = BodyParams.cat(parts)
    found = BodyParams(*(t.unflatten(0, (persons, hypotheses)) for t in (
        fitted.global_orient, fitted.body_pose, fitted.betas, fitted.transl)))  # fmt: skip
    return Hypotheses(found, posed_joints(body, found))


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
    by_size = predictions.skeleton != "free" or predictions.rotmats is None
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
        pelvis = torch.tensor(MEAN_REST_PELVIS["smplx" if predictions.skeleton == "smplx" else "smpl"])
        return transl if is_free else transl + pelvis - unmoved[..., 0, :]
    assert own is not None  # as a `PredictionFile` promises
    return (own[..., list(_SHARED), :] - unmoved[..., list(_SHARED), :]).mean(-2)
