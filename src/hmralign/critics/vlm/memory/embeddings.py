"""Vectors of groups, so that a memory can find cases that look alike.

| embedder | sees | needs |
| --- | --- | --- |
| `PoseEmbedder` | the group's mean pose, where its hypotheses disagree, the observed keypoints | nothing |
| `ClipEmbedder` | the person's crop | a CLIP model in a local folder |
| `MixEmbedder` | both: similarity is a times the one plus 1 - a times the other | both |

CLIP (Radford et al. 2021) is what GPA retrieves with; vectors of that kind tell uncommon poses apart badly (Delmas et
al. 2024, PoseEmbroider), while the predicted poses are at hand for nothing. All vectors have length 1. A memory keeps
the space of its vectors and refuses others.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open

from hmralign.critics.vlm.memory.records import CLIP, POSE, EmbeddingSpace
from hmralign.detection.local_models import CONFIG, PREPROCESSOR, WEIGHTS, file_hash, quiet
from hmralign.structures import Hypotheses, InputError, Observation
from hmralign.structures.counted import counted

_POSE_VERSION = 1
"""Raised whenever the same group gives another vector."""
_AMBIGUITY_UNIT = 0.1
"""Spread of a joint that counts as half ambiguous, metres."""


@dataclass(frozen=True)
class GroupView:
    """What an embedder may look at of one group; each needs some of it. Never the truth.

    `hypotheses` have the batch shape `(hyp,)`, `observation` is one person's, `crop` is RGB around that person.
    """

    hypotheses: Hypotheses | None = None
    observation: Observation | None = None
    crop: UInt8[np.ndarray, "height width 3"] | None = None


@runtime_checkable
class Embedder(Protocol):
    """A callable from a group to a vector of length 1."""

    @property
    def space(self) -> EmbeddingSpace:
        """Which vectors these compare with."""
        ...

    def __call__(self, view: GroupView) -> Float[np.ndarray, " dim"]:
        """The vector. Raises InputError where the view lacks what is needed."""
        ...


@dataclass(frozen=True)
class PoseEmbedder:
    """Mean pose in the camera's axes, spread per joint, and the keypoints in their box; weights are shares of the
    similarity and sum to 1."""

    pose: float = 0.7
    spread: float = 0.1
    keypoints: float = 0.2
    joints: int = 29
    num_keypoints: int = 27

    def __post_init__(self) -> None:
        """Raise InputError for shares that are none."""
        shares = (self.pose, self.spread, self.keypoints)
        if min(shares) < 0 or not math.isclose(sum(shares), 1):
            raise InputError(f"shares of pose, spread and keypoints are {shares}; expected them to sum to 1")

    @property
    def space(self) -> EmbeddingSpace:
        """Its settings are its preparation; blocks without a share are left out."""
        settings = json.dumps({"version": _POSE_VERSION, **asdict(self)}, sort_keys=True)
        dim = (
            3 * self.joints * (self.pose > 0)
            + self.joints * (self.spread > 0)
            + 3 * self.num_keypoints * (self.keypoints > 0)
        )
        return EmbeddingSpace(POSE, hashlib.sha256(settings.encode()).hexdigest(), dim)

    def __call__(self, view: GroupView) -> Float[np.ndarray, " dim"]:
        """Needs hypotheses, and the observation where keypoints have a share."""
        if view.hypotheses is None or view.hypotheses.joints.ndim != 3:
            raise InputError("the pose embedder needs the hypotheses of one person, batch shape (hyp,)")
        joints = view.hypotheses.joints.double().numpy()
        if joints.shape[1] != self.joints or not np.isfinite(joints).all():
            raise InputError(
                f"hypotheses have {counted(joints.shape[1], 'joint')} or are not finite; expected {self.joints}"
            )
        rooted = joints - joints[:, :1]
        mean = rooted.mean(0)
        spread = np.sqrt(((rooted - mean) ** 2).sum(-1).mean(0))
        blocks = [(self.pose, mean.ravel()), (self.spread, spread / (spread + _AMBIGUITY_UNIT))]
        if self.keypoints > 0:
            blocks.append((self.keypoints, self._configuration(view)))
        return _joined([(share, block) for share, block in blocks if share > 0])

    def _configuration(self, view: GroupView) -> np.ndarray:
        seen = view.observation
        if seen is None or seen.batch_shape != () or len(seen.keypoints) != self.num_keypoints:
            raise InputError(
                f"the pose embedder needs the observation of one person with {self.num_keypoints} keypoints"
            )
        box = seen.box.double().numpy()
        middle, side = (box[:2] + box[2:]) / 2, max(box[2] - box[0], box[3] - box[1], 1.0)
        confidence = seen.confidence.double().numpy().clip(0, 1)[:, None]
        places = (seen.keypoints.double().numpy() - middle) / side
        return np.concatenate([confidence * places, confidence * 0.25], 1).ravel()


@dataclass(frozen=True)
class MixEmbedder:
    """Two embedders side by side: cosine similarity is `share` times the first plus 1 - `share` times the second."""

    first: Embedder
    second: Embedder
    share: float = 0.5

    def __post_init__(self) -> None:
        """Raise InputError for a share that is none."""
        if not 0 < self.share < 1:
            raise InputError(f"the share of the first embedder is {self.share}; expected between 0 and 1")

    @property
    def space(self) -> EmbeddingSpace:
        """The spaces of both models, with the share."""
        a, b = self.first.space, self.second.space
        said = json.dumps([a.preprocessing, b.preprocessing, self.share])
        preprocessing = hashlib.sha256(said.encode()).hexdigest()
        return EmbeddingSpace(f"{a.model} + {b.model}", preprocessing, a.dim + b.dim, self.share)

    def __call__(self, view: GroupView) -> Float[np.ndarray, " dim"]:
        """Needs what both need."""
        return _joined([(self.share, self.first(view)), (1 - self.share, self.second(view))])


class ClipEmbedder:
    """The image half of a CLIP model from a local folder; nothing is fetched.

    The folder has config.json, preprocessor_config.json and model.safetensors, as `save_pretrained` writes them.
    """

    def __init__(self, model: torch.nn.Module, processor: Any, space: EmbeddingSpace) -> None:
        self._model, self._processor, self._space = model, processor, space

    @classmethod
    def from_folder(cls, folder: str | Path, device: str | torch.device = "cpu") -> ClipEmbedder:
        """Read a model. Raises InputError naming what is missing, or that the library is."""
        folder = Path(folder)
        missing = [name for name in (CONFIG, PREPROCESSOR, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise InputError(f"'{folder}' lacks {', '.join(missing)}; expected a folder with a CLIP model")
        transformers = _transformers()
        try:
            with quiet():
                whole = transformers.CLIPConfig.from_pretrained(str(folder), local_files_only=True)
                config = whole.vision_config
                config.projection_dim = whole.projection_dim
                processor = transformers.CLIPImageProcessorPil.from_pretrained(str(folder), local_files_only=True)
                model, info = transformers.CLIPVisionModelWithProjection.from_pretrained(
                    None,
                    config=config,
                    state_dict=_vision_tensors(folder),
                    dtype=torch.float32,
                    output_loading_info=True,
                )
        except InputError:
            raise
        except Exception as error:  # a configuration that does not fit its weights fails in many ways
            raise InputError(f"'{folder}' holds no usable CLIP model: {' '.join(str(error).split())[:300]}") from error
        # A tensor that is missing would be filled with random numbers, and vectors would look like vectors.
        if info["missing_keys"]:
            raise InputError(f"'{folder / WEIGHTS}' lacks tensors such as '{min(info['missing_keys'])}'")
        space = EmbeddingSpace(
            f"{CLIP} {file_hash(folder / WEIGHTS)[:16]}", file_hash(folder / PREPROCESSOR), config.projection_dim
        )
        return cls(model.to(device).eval(), processor, space)

    @property
    def space(self) -> EmbeddingSpace:
        """Hash of the weights and of the preparation."""
        return self._space

    @torch.no_grad()
    def __call__(self, view: GroupView) -> Float[np.ndarray, " dim"]:
        """Needs the crop."""
        if view.crop is None:
            raise InputError("the CLIP embedder needs the person's crop")
        pixels = self._processor(images=view.crop, return_tensors="pt")["pixel_values"]
        device = next(self._model.parameters()).device
        return unit(self._model(pixel_values=pixels.to(device)).image_embeds[0].double().cpu().numpy())


def unit(vector: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " dim"]:
    """Length 1, float32. Raises InputError for a vector of zeros or one that is not finite."""
    length = float(np.linalg.norm(vector))
    if not 0 < length < math.inf:
        raise InputError(f"an embedding has the length {length}; expected a finite one above 0")
    return (vector / length).astype(np.float32)


def _joined(blocks: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """Blocks of length 1 with weights, so that the similarity is the weighted mean of those of the blocks.

    A block without length (no keypoint seen, no spread) stays zero and is like nothing.
    """
    parts = []
    for share, block in blocks:
        length = np.linalg.norm(block)
        parts.append(math.sqrt(share) * block / (length if length > 1e-9 else 1.0))
    return unit(np.concatenate(parts))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "CLIP embeddings need the package transformers (5.5 or newer): run `pip install 'hmralign[vlm]'`"
        ) from error
    return transformers


def _vision_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of the image half: of a whole CLIP model the text half is not read."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            names = [n for n in file.keys() if n.startswith(("vision_model.", "visual_projection."))]
            return {name: file.get_tensor(name) for name in names if not name.endswith("position_ids")}
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{folder / WEIGHTS}' cannot be read as safetensors: {error}") from error
