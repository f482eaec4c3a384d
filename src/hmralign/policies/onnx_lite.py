"""The `lite` model as a policy whose networks ONNX Runtime computes, on the processor."""

from __future__ import annotations

from pathlib import Path

from hmralign.body.model import BodyModel
from hmralign.models.checkpoint import checkpoint_hash, checkpoint_kind, load_checkpoint, trained_on
from hmralign.models.lite import LiteModel
from hmralign.models.onnx.lite import OnnxLite, write_onnx
from hmralign.policies import lite_sampling
from hmralign.structures import InputError


class OnnxLitePolicy:
    """An `OnnxLite` with the body it is bound to. It proposes bodies and has no gradients, so it cannot be aligned."""

    def __init__(self, model: OnnxLite, body: BodyModel) -> None:
        """Raises InputError for a body on another device than the processor."""
        if body.v_template.device.type != "cpu":
            raise InputError(
                f"ONNX Runtime computes on the cpu here; expected device cpu, got {body.v_template.device}"
            )
        self.model, self.body = model, body

    @staticmethod
    def of_checkpoint(name_or_path: str | Path, body: BodyModel) -> OnnxLitePolicy:
        """From a checkpoint of kind `lite`. Raises InputError for another kind, and as `load_checkpoint`."""
        return OnnxLitePolicy(OnnxLite.of(_lite(name_or_path, body), str(name_or_path)), body)

    propose = propose_each = lite_sampling.propose


def export_checkpoint(name_or_path: str | Path, body: BodyModel, folder: Path) -> list[Path]:
    """Write a checkpoint's networks as ONNX (`models.onnx.lite`); returns the files.

    Raises InputError as `write_onnx` and `of_checkpoint`.
    """
    model = _lite(name_or_path, body)
    hashed, sources = checkpoint_hash(name_or_path), trained_on(name_or_path)
    return write_onnx(folder, model, body.skeleton_hash, weights_sha256=hashed, sources=sources)


def _lite(name_or_path: str | Path, body: BodyModel) -> LiteModel:
    if (kind := checkpoint_kind(name_or_path)) != "lite":
        raise InputError(f"{name_or_path}: holds a model of kind '{kind}'; ONNX is written of kind 'lite' alone")
    return load_checkpoint(name_or_path, body.skeleton_hash)
