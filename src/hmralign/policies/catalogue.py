"""Policies by the words that a user writes: shipped weights, a checkpoint's path, or code of the user's own.

Adding a kind of policy: a file beside this one, and its line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hmralign.body.model import BodyModel
from hmralign.models.bfloat16 import in_bfloat16
from hmralign.models.checkpoint import checkpoint_hash, checkpoint_kind, checkpoint_skeleton, trained_on
from hmralign.models.onnx.lite import is_onnx_folder, onnx_skeleton, read_onnx
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.policies.lite import LitePolicy
from hmralign.policies.onnx_lite import OnnxLitePolicy
from hmralign.policies.pixel import PixelLitePolicy
from hmralign.policies.policy import BodyProposer, DiffusionPolicy, state_hash
from hmralign.policies.regressor import RegressorPolicy
from hmralign.structures import InputError
from hmralign.structures.extensions import is_extension, load_extension, made_by

Runtime = Literal["torch", "onnx", "bfloat16"]
"""What computes networks: torch, ONNX Runtime, or torch with products in bfloat16."""

KINDS: Mapping[str, Callable[..., BodyProposer]] = {
    "lite": LitePolicy.load,
    "pixel": PixelLitePolicy.load,
    "hyponet": HypoNetPolicy.load,
    "regressor": RegressorPolicy.load,
}
"""Kind of a checkpoint -> `(path, body, *, num_steps, detector) -> policy`."""


@dataclass(frozen=True)
class OpenedPolicy:
    """A policy with what the records say of it."""

    policy: BodyProposer
    name: str
    """As the user wrote it."""
    sha256: str
    """Hash of the checkpoint's file, or of the weights where there is no file."""
    trained_on: tuple[str, ...] = ()
    """Sources, where they are known."""

    def diffusion(self) -> Any:
        """The policy, where groups can be sampled from it and it can be aligned. Raises InputError where it cannot."""
        if not isinstance(self.policy, DiffusionPolicy):
            missing = [n for n in _diffusion_parts() if not hasattr(self.policy, n)]
            raise InputError(
                f"{self.name}: proposes bodies but is no diffusion policy; it has no {', '.join(missing)} "
                "(see `hmralign.policies.policy`)"
            )
        return self.policy


def open_policy(
    policy: str | Path | BodyProposer,
    body: BodyModel,
    *,
    num_steps: int = 5,
    detector: str = "mediapipe",
    runtime: Runtime = "torch",
) -> OpenedPolicy:
    """The policy of a checkpoint's name or path, of `FILE.py:FUNCTION` (called with the body), or the given one.

    `num_steps` are the sampler's, `detector` says whose noise places bodies where the policy does so itself. A folder
    of ONNX graphs is computed by ONNX Runtime whatever `runtime` says. Raises InputError as `load_checkpoint`, for a
    kind of checkpoint that is not known, or is not computed by the runtime that is asked for, for bfloat16 where it is
    no faster, and for code that gives no policy.
    """
    if is_onnx_folder(policy):
        return _of_onnx(Path(str(policy)), body)
    if runtime == "onnx":
        return _by_onnx(policy, body)
    if runtime == "bfloat16":
        return _by_bfloat16(policy, body, num_steps, detector)
    if not isinstance(policy, str | Path):
        return _own(policy, type(policy).__name__, body)
    name = str(policy)
    if is_extension("policies", name):
        return _own(made_by(name, load_extension("policies", name), body=body), name, body)
    kind = checkpoint_kind(policy)
    if kind not in KINDS:
        raise InputError(f"{policy}: holds a model of kind '{kind}', expected {' or '.join(map(repr, KINDS))}")
    made = KINDS[kind](policy, body, num_steps=num_steps, detector=detector)
    return OpenedPolicy(made, name, checkpoint_hash(policy), trained_on(policy))


def policy_skeleton(policy: str | Path | BodyProposer) -> str | None:
    """Hash of the skeleton that a policy is bound to; None where that is only known once it is made for a body."""
    if is_onnx_folder(policy):
        return onnx_skeleton(Path(str(policy)))
    if not isinstance(policy, str | Path):
        return policy.body.skeleton_hash if isinstance(policy, BodyProposer) else None
    return None if is_extension("policies", str(policy)) else checkpoint_skeleton(policy)


def _of_onnx(folder: Path, body: BodyModel) -> OpenedPolicy:
    found = read_onnx(folder, body.skeleton_hash)
    return OpenedPolicy(OnnxLitePolicy(found.model, body), str(folder), found.sha256, found.trained_on)


def _by_onnx(policy: str | Path | BodyProposer, body: BodyModel) -> OpenedPolicy:
    if not isinstance(policy, str | Path) or is_extension("policies", str(policy)):
        raise InputError("ONNX Runtime computes checkpoints of kind 'lite'; a policy of your own computes as it does")
    made = OnnxLitePolicy.of_checkpoint(policy, body)
    return OpenedPolicy(made, str(policy), checkpoint_hash(policy), trained_on(policy))


def _by_bfloat16(policy: str | Path | BodyProposer, body: BodyModel, num_steps: int, detector: str) -> OpenedPolicy:
    if not isinstance(policy, str | Path) or is_extension("policies", str(policy)):
        raise InputError("bfloat16 is for checkpoints of kind 'lite'; a policy of your own computes as it does")
    if (kind := checkpoint_kind(policy)) != "lite":
        raise InputError(f"{policy}: holds a model of kind '{kind}'; bfloat16 is for kind 'lite' alone")
    if body.v_template.device.type != "cpu":
        raise InputError(f"bfloat16 is for the cpu here; expected device cpu, got {body.v_template.device}")
    made = LitePolicy.load(policy, body, num_steps=num_steps, detector=detector)
    made.model.denoiser = in_bfloat16(made.model.denoiser)
    return OpenedPolicy(made, str(policy), checkpoint_hash(policy), trained_on(policy))


def _own(policy: Any, name: str, body: BodyModel) -> OpenedPolicy:
    """A user's own policy, held to the protocol."""
    if not isinstance(policy, BodyProposer):
        missing = [n for n in ("body", "propose") if not hasattr(policy, n)]
        raise InputError(f"{name}: is no policy; it has no {' and no '.join(missing)} (see `hmralign.policies.policy`)")
    if policy.body.skeleton_hash != body.skeleton_hash:
        raise InputError(f"{name}: proposes bodies of another skeleton than {body.name}'s")
    sha256 = state_hash(policy) if isinstance(policy, torch.nn.Module) else ""
    return OpenedPolicy(policy, name, sha256, tuple(getattr(policy, "trained_on", ())))


def _diffusion_parts() -> tuple[str, ...]:
    return ("schedule", "denoiser", "context", "denoising_loss", "sample", "to_body")
