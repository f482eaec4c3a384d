"""Where a refinement starts: bodies in the `cam` frame as they are seen in the person frame, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.fitting.person_fit import PersonFit
from hmralign.structures import BodyParams, InputError, PersonGroup, TensorRecord

_TURNS = 8
"""With guessed intrinsics a body is turned a little where it is placed; the turn is found by so many repetitions."""


@dataclass(frozen=True)
class Start(TensorRecord):
    """Initial bodies: rotations in the person frame, shapes, and how that frame lies in `cam`."""

    rotmats: Float[Tensor, "person 24 3 3"]
    betas: Float[Tensor, "person betas"]
    R_cam_person: Float[Tensor, "person 3 3"]
    pelvis: Float[Tensor, "person 3"]

    def in_cam(
        self, body: BodyModel, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> tuple[Float[Tensor, "person 24 3"], Float[Tensor, "person 24 3 3"]]:
        """Joints (metres) and rotations in the `cam` frame, the pelvis where the initial body has it."""
        _, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)  # (B, 29, 3)
        away = (joints[:, :NUM_JOINTS] - joints[:, :1]) @ self.R_cam_person.mT
        root = self.R_cam_person[:, None] @ rotmats[:, :1]
        return away + self.pelvis[:, None], torch.cat([root, rotmats[:, 1:]], dim=1)


def start_of(fit: PersonFit, initial: BodyParams) -> Start:
    """The start of a refinement of the fit's persons from bodies in the `cam` frame, one for each.

    Raises InputError for bodies of another number, of another skeleton, or not finite.
    """
    check_initial(fit, initial)
    root = fit.frame.R_person_cam @ initial.global_orient  # (B, 3, 3)
    for _ in range(0 if bool(fit.observation.knows_camera.all()) else _TURNS):
        rotmats = torch.cat([root[:, None], initial.body_pose], dim=1)
        placed = fit.bodies(PersonGroup(rotmats[:, None], initial.betas[:, None]))[:, 0]
        root = root @ placed.global_orient.mT @ initial.global_orient
    rotmats = torch.cat([root[:, None], initial.body_pose], dim=1)
    pelvis = rest_joints(fit.body, initial.betas)[:, 0] + initial.transl
    return Start(rotmats, initial.betas, initial.global_orient @ root.mT, pelvis)


def check_initial(fit: PersonFit, initial: BodyParams) -> None:
    """Raise InputError for initial bodies that do not fit the persons or the body model, or are not finite."""
    persons = len(fit.observation.box)
    if tuple(initial.batch_shape) != (persons,):
        raise InputError(f"initial bodies have batch axes {tuple(initial.batch_shape)}, expected ({persons},)")
    if initial.body_pose.shape[-3] != NUM_JOINTS - 1 or initial.betas.shape[-1] != fit.body.num_betas:
        raise InputError(
            f"initial bodies have {initial.body_pose.shape[-3]} joints below the root and {initial.betas.shape[-1]} "
            f"shape coefficients; the body '{fit.body.name}' has {NUM_JOINTS - 1} and {fit.body.num_betas}"
        )
    for name, tensor in initial.tensors().items():
        bad = ~torch.isfinite(tensor).flatten(1).all(1)
        if bool(bad.any()):
            raise InputError(f"person {int(bad.nonzero()[0])}: {name} of the initial body is not finite")
