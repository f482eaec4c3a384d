"""Errors of one person's group, one number per person and column; nothing is averaged over persons here.

| column | what |
| --- | --- |
| `single` | mean over the hypotheses: what one draw costs |
| `zero_noise` | the sampler's mode (hypothesis 0) |
| `selected` | the hypothesis that the critics like best |
| `fused` | the one answer made from the group |
| `min_of_10` ... | the best of the first M, an oracle: never to be reported alone |
| `*_pa` | after Procrustes alignment of each body |
| `fused_plane`, `fused_depth` | across and along the line of sight |
| `fused_pve`, `selected_pve`, `*_pa_pve` | over vertices |
| `spread` | mean over joints of the group's RMS distance from its mean |

A person with a prediction that is not finite counts as failed: every column gets `FAILURE_ERROR`, and the failure is
counted, so that no failure can improve a table (`spread`, which is no error, is 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, pa_pve, plane_and_depth_errors, pve
from hmralign.structures import InputError, TensorRecord
from hmralign.structures.counted import counted

FAILURE_ERROR = 1.0
"""Metres; no guess at a human pose is that far off."""

MIN_OF = (10, 100, 200)


@dataclass(frozen=True)
class Predicted(TensorRecord):
    """What a predictor says of persons, `cam` frame, metres; vertices may be left out."""

    joints: Float[Tensor, "person hyp joints 3"]
    fused: Float[Tensor, "person joints 3"]
    selected: Int[Tensor, " person"]
    fused_vertices: Float[Tensor, "person vert 3"] | None = None
    selected_vertices: Float[Tensor, "person vert 3"] | None = None


@dataclass(frozen=True)
class Truth(TensorRecord):
    """What is true of the same persons."""

    joints: Float[Tensor, "person joints 3"]
    vertices: Float[Tensor, "person vert 3"] | None = None


def failed(predicted: Predicted) -> Bool[Tensor, " person"]:
    """Persons with any number that is not finite."""
    parts = [predicted.joints.flatten(1), predicted.fused.flatten(1)]
    parts += [v.flatten(1) for v in (predicted.fused_vertices, predicted.selected_vertices) if v is not None]
    return ~torch.stack([torch.isfinite(p).all(1) for p in parts]).all(0)


def person_errors(predicted: Predicted, truth: Truth, min_of: tuple[int, ...] = MIN_OF) -> dict[str, Tensor]:
    """Columns of errors in metres, each of shape (person,); `failed` is 0 or 1. `min_of` beyond M raises InputError."""
    hyp = predicted.joints.shape[1]
    if min_of and max(min_of) > hyp:
        raise InputError(f"min-of-{max(min_of)} was asked for, but a group has {counted(hyp, 'hypothesis')}")
    bad = failed(predicted)
    joints = torch.where(bad[:, None, None, None], 0.0, predicted.joints)[:, :, :NUM_JOINTS]
    fused = torch.where(bad[:, None, None], 0.0, predicted.fused)[:, :NUM_JOINTS]
    target = truth.joints[:, :NUM_JOINTS]
    columns = _of_group(joints, target, predicted.selected, min_of, bad)
    columns |= _of_answer("fused", fused, target, bad)
    for name, mesh, body in (
        ("fused", predicted.fused_vertices, fused),
        ("selected", predicted.selected_vertices, _pick(joints, predicted.selected)),
    ):
        if mesh is not None and truth.vertices is not None:
            columns |= _of_mesh(name, torch.where(bad[:, None, None], 0.0, mesh), truth.vertices, body, target, bad)
    columns = {name: torch.where(bad, FAILURE_ERROR, values) for name, values in columns.items()}
    columns["spread"] = torch.where(bad, 0.0, _spread(joints))
    columns["failed"] = bad.float()
    return columns


def _pick(joints: Float[Tensor, "person hyp j 3"], index: Int[Tensor, " person"]) -> Float[Tensor, "person j 3"]:
    return joints[torch.arange(len(joints)), index]


def _pa(pred: Float[Tensor, "*batch j 3"], target: Float[Tensor, "*batch j 3"], bad: Tensor) -> Tensor:
    """PA-MPJPE; a failed body, all zeros, has no shape to align, and its value is replaced later."""
    usable = torch.where(bad.view(-1, *[1] * (pred.ndim - 1)), target, pred)
    return pa_mpjpe(usable, target)


def _of_group(
    joints: Float[Tensor, "person hyp j 3"],
    target: Float[Tensor, "person j 3"],
    selected: Int[Tensor, " person"],
    min_of: tuple[int, ...],
    bad: Bool[Tensor, " person"],
) -> dict[str, Tensor]:
    each = mpjpe(joints, target[:, None], root=0)
    each_pa = _pa(joints, target[:, None].expand_as(joints), bad)
    rows = torch.arange(len(joints))
    columns = {
        "single": each.mean(1),
        "single_pa": each_pa.mean(1),
        "zero_noise": each[:, 0],
        "zero_noise_pa": each_pa[:, 0],
        "selected": each[rows, selected],
        "selected_pa": each_pa[rows, selected],
    }
    for m in min_of:
        columns[f"min_of_{m}"] = each[:, :m].amin(1)
        columns[f"min_of_{m}_pa"] = each_pa[:, :m].amin(1)
    return columns


def _of_answer(
    name: str, body: Float[Tensor, "person j 3"], target: Float[Tensor, "person j 3"], bad: Bool[Tensor, " person"]
) -> dict[str, Tensor]:
    plane, depth = plane_and_depth_errors(body, target)
    return {
        name: mpjpe(body, target, root=0),
        f"{name}_pa": _pa(body, target, bad),
        f"{name}_plane": plane,
        f"{name}_depth": depth,
    }


def _of_mesh(
    name: str,
    mesh: Float[Tensor, "person vert 3"],
    target: Float[Tensor, "person vert 3"],
    body: Float[Tensor, "person j 3"],
    joints: Float[Tensor, "person j 3"],
    bad: Bool[Tensor, " person"],
) -> dict[str, Tensor]:
    usable = torch.where(bad[:, None, None], target, mesh)
    return {
        f"{name}_pve": pve(mesh, target, body[:, 0], joints[:, 0]),
        f"{name}_pa_pve": pa_pve(usable, target),
    }


def _spread(joints: Float[Tensor, "person hyp j 3"]) -> Float[Tensor, " person"]:
    relative = joints - joints[..., :1, :]
    return (relative - relative.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt().mean(-1)
