"""The `lite` model computed by ONNX Runtime: what sampling asks of a `LiteModel`, without torch's networks.

    FOLDER/model.json      format version, kind, configuration, skeleton, statistics of poses, hashes of the graphs
    FOLDER/encoder.onnx    see `graphs`
    FOLDER/denoiser.onnx

Noise, DDIM, mirroring and inverse kinematics are the package's own; only the networks differ, in the last bits.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.diffusion.schedule import Schedule, make_schedule
from hmralign.models.checkpoint import lite_config
from hmralign.models.context import Context, KeypointFeatures, keypoint_features
from hmralign.models.denoiser import LiteConfig, Prepared
from hmralign.models.lite import LiteModel
from hmralign.models.onnx.graphs import LiteGraphs, denoiser_names, encoder_names, lite_graphs
from hmralign.models.onnx.opened import OnnxGraph, read_graph
from hmralign.models.person_frame import PersonFrame
from hmralign.models.pose_vector import POSE_DIM, PoseCodec
from hmralign.storage.json_file import HEADER, read_record
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import InputError, Observation
from hmralign.structures.errors import shown

FORMAT_VERSION = 1
MANIFEST, ENCODER, DENOISER = "model.json", "encoder.onnx", "denoiser.onnx"


class OnnxDenoiser:
    """eps_theta(x_t, t, context) by a graph."""

    def __init__(self, graph: OnnxGraph, schedule: Schedule) -> None:
        self.graph, self.schedule = graph, schedule

    def prepare(self, context: Context) -> Prepared:
        """The encoder's graph has prepared it: its global tokens are the modulations of the blocks."""
        return Prepared(context.global_tokens, context.local)

    def __call__(
        self, x_t: Float[Tensor, "person hyp 130"], t: Int[Tensor, ""], prepared: Prepared
    ) -> Float[Tensor, "person hyp 130"]:
        """eps of each sample, at one time. `prepared` has the axis of hypotheses (`per_hypothesis`).

        Raises InputError where the graph gives another shape.
        """
        if not x_t.numel():
            return x_t.clone()  # a graph need not know what nobody is
        given = [prepared.modulation] if prepared.tokens is None else [prepared.modulation, prepared.tokens]
        (eps,) = self.graph(x_t, t, *(part.squeeze(-3) for part in given))
        return _of_shape(self.graph, "eps", eps, x_t.shape)


class OnnxLite:
    """Encoder, denoiser and pose statistics, on the processor."""

    def __init__(self, config: LiteConfig, codec: PoseCodec, graphs: LiteGraphs, name: str) -> None:
        """`name` is what errors say of the graphs. Raises InputError as `OnnxGraph`."""
        self.config, self.codec = config, codec.eval().requires_grad_(False)
        self._encoder = OnnxGraph(f"{name}: {ENCODER}", graphs.encoder, *encoder_names(config))
        denoiser = OnnxGraph(f"{name}: {DENOISER}", graphs.denoiser, *denoiser_names(config))
        self.denoiser = OnnxDenoiser(denoiser, make_schedule(config.schedule))

    @staticmethod
    def of(model: LiteModel, name: str) -> OnnxLite:
        """A model on the processor, as ONNX Runtime computes it. Raises InputError as `lite_graphs`."""
        return OnnxLite(model.config, model.codec, lite_graphs(model), name)

    def features(self, observation: Observation, frame: PersonFrame, *, mirrored: bool = False) -> KeypointFeatures:
        """What the encoder sees of persons, or of their mirror images."""
        return keypoint_features(observation, frame, mirrored=mirrored)

    def context(self, features: KeypointFeatures) -> Context:
        """Encode persons (one axis), as far as `OnnxDenoiser.prepare` hands on."""
        persons = len(features.vector)
        some = (
            features if persons else KeypointFeatures(*(x.new_zeros(1, *x.shape[1:]) for x in vars(features).values()))
        )
        found = [part[:persons] for part in self._encoder(some.vector, some.mask, some.has_mask)]
        modulation, tokens, betas = found if len(found) == 3 else (found[0], None, found[1])
        if modulation.ndim != 3 or betas.ndim != 2 or {len(part) for part in found} != {persons}:
            raise InputError(f"{self._encoder.name}: gives other shapes than the graphs of this package")
        return Context(modulation, tokens, betas)


@dataclass(frozen=True)
class OnnxFolder:
    """What a folder holds, looked at."""

    model: OnnxLite
    sha256: str
    """Hash of `model.json`, which has those of the graphs."""
    trained_on: tuple[str, ...]


def is_onnx_folder(path: object) -> bool:
    """Whether a path is a folder that `write_onnx` may have written."""
    return isinstance(path, str | Path) and (Path(path) / MANIFEST).is_file()


def write_onnx(
    folder: Path, model: LiteModel, skeleton_hash: str, *, weights_sha256: str, sources: tuple[str, ...] = ()
) -> list[Path]:
    """Write the graphs of a model on the processor, and their record last. Returns the files.

    Raises InputError for a folder that holds other things, and as `lite_graphs`.
    """
    others = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    if set(others) - {MANIFEST, ENCODER, DENOISER}:
        raise InputError(f"{folder}: holds other files; expected a new folder, or one that was written by this command")
    graphs = lite_graphs(model)
    record = {
        "format_version": FORMAT_VERSION,
        "kind": "lite-onnx",
        "config": asdict(model.config),
        "skeleton_hash": skeleton_hash,
        "trained_on": list(sources),
        "weights_sha256": weights_sha256,
        "pose_mean": model.codec.mean.tolist(),
        "pose_std": model.codec.std.tolist(),
        "sha256": {ENCODER: _sha256(graphs.encoder), DENOISER: _sha256(graphs.denoiser)},
    }
    return [
        write_whole(folder / ENCODER, graphs.encoder),
        write_whole(folder / DENOISER, graphs.denoiser),
        write_json(folder / MANIFEST, record),
    ]


def onnx_skeleton(folder: str | Path) -> str:
    """Hash of the skeleton that the bodies of a folder have. Raises InputError as `read_onnx`."""
    return _text(Path(folder) / MANIFEST, _record(Path(folder)), "skeleton_hash")


def read_onnx(folder: str | Path, skeleton_hash: str) -> OnnxFolder:
    """Read a folder for the given skeleton.

    Raises InputError, naming the file, where one is missing, damaged, of a newer format, too large, of another
    skeleton, or no plain graph (`opened.require_plain`), and for graphs that were not written together with the record.
    """
    folder = Path(folder)
    path, record = folder / MANIFEST, _record(folder)
    if (bound := _text(path, record, "skeleton_hash")) != skeleton_hash:
        raise InputError(
            f"{path}: is bound to another skeleton ({shown(bound[:12])}..., this body is {skeleton_hash[:12]}...)"
        )
    config = lite_config(path, json.dumps(record.get("config")))
    codec = PoseCodec()
    codec.mean, codec.std = (_numbers(path, record, name) for name in ("pose_mean", "pose_std"))
    if not bool((codec.std > 0).all()):
        raise InputError(f"{path}: pose_std has numbers that are not positive")
    sources = record.get("trained_on")
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise InputError(f"{path}: what it was trained on is no list of names")
    graphs = LiteGraphs(*(_graph(folder, record, name) for name in (ENCODER, DENOISER)))
    return OnnxFolder(OnnxLite(config, codec, graphs, str(folder)), _sha256(path.read_bytes()), tuple(sources))


def _record(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    record = read_record(path, "the record of an ONNX model", FORMAT_VERSION, HEADER)
    if record.get("kind") != "lite-onnx":
        raise InputError(f"{path}: holds a model of kind '{shown(record.get('kind'))}', expected 'lite-onnx'")
    return record


def _graph(folder: Path, record: dict[str, Any], name: str) -> bytes:
    content, hashes = read_graph(folder / name), record.get("sha256")
    if not isinstance(hashes, dict) or hashes.get(name) != _sha256(content):
        raise InputError(f"{folder / name}: is not the file that {MANIFEST} beside it was written with")
    return content


def _text(path: Path, record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise InputError(f"{path}: {name} is {shown(value)}, expected a text")
    return value


def _numbers(path: Path, record: dict[str, Any], name: str) -> Float[Tensor, " 130"]:
    values = record.get(name)
    if not isinstance(values, list) or len(values) != POSE_DIM or not all(map(_is_moderate, values)):
        raise InputError(f"{path}: {name} is no list of {POSE_DIM} numbers")
    return torch.tensor(values, dtype=torch.float32)


def _is_moderate(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e6


def _of_shape(graph: OnnxGraph, name: str, found: Tensor, shape: torch.Size) -> Tensor:
    if found.shape != shape:
        raise InputError(f"{graph.name}: {name} has shape {tuple(found.shape)}, expected {tuple(shape)}")
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
