"""One body over time, as animation files need it: the input of every writer in this folder.

A photo is a motion of one frame. The frames in which a motion may stand:

    "cam"   x right, y down, z forward, the camera at the origin (OpenCV); what `recover` estimates
    "y_up"  x right, y up, z towards the viewer, the axes of glTF and BVH; also of any world of the caller's with y up

In both the body turns about its rest pelvis, then `transl` is added, as in SMPL. `cam` knows nothing of gravity: up in
a file made from it is up in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.geometry.frames import CAM_TO_Y_UP, turn_body
from hmralign.structures import BodyParams, InputError
from hmralign.structures.counted import counted

Frame = Literal["cam", "y_up"]

_ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Motion:
    """Parameters of one person in T frames at a constant rate, one shape for all of them.

    `rotmats` are parent-relative, the root first, in the order of `body.skeleton.JOINT_NAMES`; `transl` are metres.

    Raises:
        InputError: no frame, axes that do not fit, numbers that are not finite, matrices that are no rotations, or a
            frame rate that is not positive.
    """

    rotmats: Float[Tensor, "frames 24 3 3"]
    transl: Float[Tensor, "frames 3"]
    betas: Float[Tensor, " betas"]
    fps: float
    """Frames per second."""
    frame: Frame = "cam"
    """Axes in which the person stands, see the module."""

    def __post_init__(self) -> None:
        count = len(self.rotmats)
        expected = {"rotmats": (count, NUM_JOINTS, 3, 3), "transl": (count, 3), "betas": (self.betas.shape[-1],)}
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape:
                raise InputError(f"motion: {name} has shape {tuple(tensor.shape)}, expected {shape}")
            if not torch.isfinite(tensor).all():
                raise InputError(f"motion: {name} holds numbers that are not finite")
        if count == 0:
            raise InputError("motion: it has no frame, expected at least one")
        if self.frame not in ("cam", "y_up"):
            raise InputError(f"motion: frame is {self.frame!r}, expected 'cam' or 'y_up'")
        if not 0 < self.fps < float("inf"):
            raise InputError(f"motion: {self.fps} frames per second, expected a positive number")
        _require_rotations(self.rotmats)

    @staticmethod
    def of_body(body: BodyParams, fps: float = 30.0, frame: Frame = "cam") -> Motion:
        """A single body (no batch axis) as a motion of one frame, or bodies along one axis as its frames.

        Raises InputError where the bodies of several frames differ in shape.
        """
        if body.batch_shape == ():
            body = body.map(lambda tensor: tensor[None])
        if not torch.equal(body.betas, body.betas[:1].expand_as(body.betas)):
            raise InputError("motion: the betas change from frame to frame, expected one shape")
        return Motion(body.rotmats, body.transl, body.betas[0], fps, frame)

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.rotmats)

    @property
    def body(self) -> BodyParams:
        """The same as bodies with one batch axis of T frames."""
        betas = self.betas.expand(self.num_frames, -1)
        return BodyParams(self.rotmats[:, 0], self.rotmats[:, 1:], betas, self.transl)

    def y_up(self, model: BodyModel) -> Motion:
        """The same motion with y up, in double precision on the CPU.

        Raises InputError where the motion has another number of betas than the model.
        """
        if len(self.betas) != model.num_betas:
            found = counted(len(self.betas), "beta")
            raise InputError(f"motion: {found}, expected {model.num_betas} as body {model.name!r} has")
        rotmats, transl, betas = (x.detach().cpu().double() for x in (self.rotmats, self.transl, self.betas))
        if self.frame == "cam":
            pelvis = shaped_joints(model, betas)[0]
            turn = torch.tensor(CAM_TO_Y_UP, dtype=torch.float64)
            root, transl = turn_body(rotmats[:, 0], transl, pelvis, turn)
            rotmats = torch.cat([root[:, None], rotmats[:, 1:]], dim=1)
        return replace(self, rotmats=rotmats, transl=transl, betas=betas, frame="y_up")


def shaped_joints(model: BodyModel, betas: Float[Tensor, " betas"]) -> Float[Tensor, "29 3"]:
    """Rest positions of the 29 joints of one shape, metres, in double precision on the CPU."""
    return rest_joints(model.to("cpu").to(torch.float64), betas.detach().cpu().double())


def _require_rotations(rotmats: Tensor) -> None:
    gram = rotmats.mT @ rotmats - torch.eye(3, dtype=rotmats.dtype, device=rotmats.device)
    wrong = (gram.abs().amax((-1, -2)) > _ROTATION_TOLERANCE) | (torch.linalg.det(rotmats) < 0)
    if wrong.any():
        frame, joint = (int(i) for i in wrong.nonzero()[0])
        raise InputError(f"motion: the matrix of joint {joint} in frame {frame} is no rotation")
