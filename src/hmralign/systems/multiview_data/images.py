"""`hmralign multiview images`: single pictures of people in given poses, for fine-tuning by pose (DrPose, sec. 4).

    pose file -> bodies as cameras at random see them -> `PoseImages` -> pictures on disk with pose and camera

DrPose has its pictures from a pose-conditioned video model. Whatever makes pictures is a `PoseImages`; here it is the
renderer of SynthWild, whose people differ in cloth, skin, light and background (`rendering.scenes`).

    manifest.json      settings, where poses come from, SHA-256 of every file
    images/000000.png  the square crop around one person
    persons.npz        by row: `global_orient`, `body_pose`, `betas`, `transl` (`cam`, metres), `joints` (24, 3), `K` of
                       the whole photo, `box` and `pose_row`, the row of the pose file's split
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.pose_file import PoseSet, Split, load_pose_file
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.views import sample_views
from hmralign.rendering.scenes.crops import AT_ONCE, SceneMix, rendered_crops
from hmralign.storage.run_record import plain, require_own_folder
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import BodyParams, Example, InputError
from hmralign.structures.counted import counted

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
MOST_IMAGES = 1_000_000
SIDES = (32, 1024)


@runtime_checkable
class PoseImages(Protocol):
    """What makes pictures of people in poses; an adapter of a pose-conditioned generator is one."""

    @property
    def name(self) -> str:
        """For the manifest: what made the pictures, and of which version."""
        ...

    def pictures(
        self, body_pose: Float[Tensor, "n 23 3 3"], up_in_pelvis: Float[Tensor, "n 3"], generator: torch.Generator
    ) -> tuple[Example, UInt8[Tensor, "n 3 side side"]]:
        """One picture of each pose: RGB of the square crop, and the person in it with body and camera."""
        ...


@dataclass(frozen=True)
class RenderedImages:
    """`PoseImages` of our renderer: the free body in drawn shapes, cloth, light and places, before made-up scenes."""

    side: int = 256
    scenes: SceneMix = field(default_factory=SceneMix)
    synthetic: SyntheticMix = field(default_factory=lambda: SyntheticMix(box_only_share=0.0))
    body: BodyModel | None = None
    """The free body where nothing is said."""

    def __post_init__(self) -> None:
        """Raise InputError for a size that no picture has."""
        if not SIDES[0] <= self.side <= SIDES[1]:
            raise InputError(f"pictures of {self.side} pixels; expected {SIDES[0]} to {SIDES[1]}")

    @property
    def name(self) -> str:
        """The renderer with its body."""
        return f"rendering.scenes, {self._model.name}"

    def pictures(
        self, body_pose: Float[Tensor, "n 23 3 3"], up_in_pelvis: Float[Tensor, "n 3"], generator: torch.Generator
    ) -> tuple[Example, UInt8[Tensor, "n 3 side side"]]:
        """See `PoseImages`."""
        n, model = len(body_pose), self._model
        views = sample_views(up_in_pelvis, self.synthetic.views, generator)
        betas = self.synthetic.beta_sd * torch.randn(n, model.num_betas, generator=generator).clamp(-3, 3)
        params = BodyParams(views.global_orient, body_pose, betas, views.transl)
        makes = Generator(model, PoseSource(load_pose_prior("train")), self.synthetic)
        nobody_by_box = torch.zeros(n, dtype=torch.bool)
        example, seen = makes.observed(params, rest_joints(model, betas), views, nobody_by_box, generator)
        return example, rendered_crops(model, example, seen, self.side, self.scenes, generator)

    @property
    def _model(self) -> BodyModel:
        return load_free_body("3k5") if self.body is None else self.body


@dataclass(frozen=True)
class ImagesConfig:
    """What is made."""

    split: Split = "train"
    """Poses of the file that are read."""
    images: int | None = None
    """So many pictures, of poses at even steps; one of every pose where nothing is said."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for a number of pictures that cannot be."""
        if self.images is not None and not 1 <= self.images <= MOST_IMAGES:
            raise InputError(f"{counted(self.images, 'picture')}; expected 1 to {MOST_IMAGES}")


def build_images(config: ImagesConfig, pose_file: Path, makes: PoseImages, out: Path) -> dict[str, Any]:
    """Write pictures of the poses of a file; returns the manifest. Equal settings write equal files.

    Raises InputError as `load_pose_file`, for more pictures than poses, and for a folder that holds other things.
    """
    poses = load_pose_file(pose_file, config.split)
    rows = _rows(config, poses, pose_file)
    require_own_folder(out, MANIFEST, "holds no pictures of poses")
    with finished_folder(out) as draft:
        parts = [_some(draft, makes, poses, rows, first, config.seed) for first in range(0, len(rows), AT_ONCE)]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        write_npz(draft / "persons.npz", arrays)
        files = {p.relative_to(draft).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
                 for p in sorted(draft.rglob("*")) if p.is_file()}  # fmt: skip
        manifest = plain({
            "format_version": FORMAT_VERSION, "settings": asdict(config), "made_by": makes.name,
            "poses": {"file": pose_file.name, "sha256": poses.sha256, "used": len(rows)}, "files": files,
        })  # fmt: skip
        write_json(draft / MANIFEST, manifest)
    return manifest


def _rows(config: ImagesConfig, poses: PoseSet, pose_file: Path) -> Int[Tensor, " picture"]:
    count = len(poses.body_pose)
    wanted = count if config.images is None else config.images
    if wanted > min(count, MOST_IMAGES):
        raise InputError(
            f"{pose_file}: {counted(wanted, 'picture')} of {counted(count, 'pose')}; expected one of each at most"
        )
    return torch.linspace(0, count - 1, wanted).round().long()


def _some(
    place: Path, makes: PoseImages, poses: PoseSet, rows: Int[Tensor, " picture"], first: int, seed: int
) -> dict[str, np.ndarray]:
    """Write the pictures of some rows; returns their columns."""
    own = rows[first : first + AT_ONCE]
    draw = seeded(seed, "pictures of poses", first)
    example, pictures = makes.pictures(poses.body_pose[own], poses.up_in_pelvis[own], draw)
    for number, picture in enumerate(pictures, first):
        content = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(content, "PNG")
        write_whole(place / f"images/{number:06d}.png", content.getvalue())
    assert example.annotation is not None
    columns = example.annotation.body.tensors() | {
        "joints": example.annotation.joints[:, :NUM_JOINTS], "K": example.observation.K,
        "box": example.observation.box, "pose_row": own,
    }  # fmt: skip
    return {name: value.numpy() for name, value in columns.items()}
