"""A local folder of PSHuman's multi-view model: what is in it, and what of it is not as published.

    model_index.json                     which class each component is of
    unet/                                UNetMV2DConditionModel, PSHuman's own: attention along rows over the views
    image_encoder/  image_normalizer/    CLIP's image embedding, and its mean and spread
    image_noising_scheduler/  scheduler/ noise of that embedding, and of the latents
    vae/                                 AutoencoderKL
    clr_embeds.pt  normal_embeds.pt      fixed text embeddings, one for each of 7 images (also in a folder below)

Source: Li et al. 2024 (PSHuman), its public inference script and configuration: 7 images of 768 pixels (six sides and
the face) in two domains, colours and normals. Nothing here builds the model (`adapters.pshuman_folder` does, and needs
`diffusers`): a folder is looked through, the photo is prepared as the script prepares it (`prepared_pictures`), and so
is what it does to the pictures after they are decoded (`finished_pictures`), each with switches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hmralign.models.checkpoint import opened_weights
from hmralign.storage.json_file import HEADER, read_json
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.errors import shown

VIEWS, SIZE, LATENT = 7, 768, 8
"""Images of each domain, pixels across one, pixels to a latent."""

VIEW_NAMES = ("front", "front_right", "right", "back", "left", "front_left", "face")
"""What the text embeddings call the images."""

CLASSES: Mapping[str, tuple[str, ...]] = {
    "unet": ("UNetMV2DConditionModel",),
    "image_encoder": ("CLIPVisionModelWithProjection",),
    "image_normalizer": ("StableUnCLIPImageNormalizer",),
    "image_noising_scheduler": ("DDPMScheduler",),
    "vae": ("AutoencoderKL",),
    "scheduler": ("DDIMScheduler", "DDPMScheduler"),
}
"""Component -> classes that it may be of."""

EMBEDS = ("clr_embeds.pt", "normal_embeds.pt")
_WITHOUT_WEIGHTS = ("image_noising_scheduler", "scheduler")
CONFIGS = {"scheduler": "scheduler_config.json", "image_noising_scheduler": "scheduler_config.json"}
"""Component -> file of its configuration, where that is not config.json."""
_MAX_EMBEDS = 64 * 2**20
_SAID = (
    "num_views", "sample_size", "in_channels", "out_channels", "cross_attention_dim", "class_embed_type",
    "projection_class_embeddings_input_dim", "latent_channels", "scaling_factor", "hidden_size", "projection_dim",
    "image_size", "embedding_dim", "num_train_timesteps", "prediction_type",
)  # fmt: skip
"""Entries of configurations that are told."""


@dataclass(frozen=True)
class Component:
    """One component of a folder."""

    name: str
    kind: str
    """Its class, empty where nothing says it."""
    config: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    """File of its weights, empty where there is none."""
    megabytes: float = 0.0
    tensors: int | None = None
    """None where the weights are a pickle, which is not opened."""
    parameters: int | None = None


@dataclass(frozen=True)
class Folder:
    """What a folder has, and what of it differs from what was published."""

    components: tuple[Component, ...]
    embeds: dict[str, tuple[int, ...]]
    """File -> shape of its text embeddings."""
    differs: tuple[str, ...]


def check_folder(folder: Path) -> Folder:
    """Everything of a folder. Raises InputError where it is none, and for a file that is damaged; what is missing or
    otherwise is in `Folder.differs`."""
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: holds no model_index.json, expected the folder of a pipeline with its components")
    index = read_json(folder / "model_index.json", "the index of a pipeline", HEADER)
    if not isinstance(index, dict):
        raise InputError(f"{folder / 'model_index.json'}: is no object with the components of a pipeline")
    components = tuple(_component(folder, name, index) for name in CLASSES)
    places = {name: path for name in EMBEDS if (path := embeds_path(folder, name)) is not None}
    embeds = {name: tuple(read_embeds(path).shape) for name, path in places.items()}
    return Folder(components, embeds, tuple(_differences(components, embeds)))


def _component(folder: Path, name: str, index: dict[str, Any]) -> Component:
    entry = index.get(name)
    kind = str(entry[1]) if isinstance(entry, list) and len(entry) == 2 else ""
    path = folder / name / CONFIGS.get(name, "config.json")
    config = read_json(path, f"the configuration of {name}", HEADER) if path.is_file() else {}
    if not isinstance(config, dict):
        raise InputError(f"{path}: is no object")
    kind = str(config.get("_class_name", "")) or kind
    weights = next((p for p in weight_files(folder / name)), None)
    if weights is None:
        return Component(name, kind, config)
    counts = (None, None) if weights.suffix != ".safetensors" else _counted(weights)
    return Component(name, kind, config, weights.name, round(weights.stat().st_size / 2**20, 3), *counts)


def weight_files(place: Path) -> list[Path]:
    """Weights of a component, each whole in one file: safetensors first, those of training's moving average last."""
    found = [p for suffix in ("*.safetensors", "*.bin", "*.pth") for p in sorted(place.glob(suffix)) if p.is_file()]
    return sorted(found, key=lambda p: "ema" in p.name)


def _counted(path: Path) -> tuple[int, int]:
    """Tensors and numbers, from the header alone."""
    with opened_weights(path, ()) as handle:
        shapes = [handle.get_slice(name).get_shape() for name in handle.keys()]
    return len(shapes), sum(int(torch.Size(shape).numel()) for shape in shapes)


def embeds_path(folder: Path, name: str) -> Path | None:
    """Where text embeddings lie: in the folder, or in one below it."""
    return next((p for p in (folder / name, *sorted(folder.glob(f"*/{name}"))) if p.is_file()), None)


def read_embeds(path: Path) -> Tensor:
    """Text embeddings. Raises InputError for a file that holds no tensor, and for one that cannot be read as data."""
    import io

    try:
        found = torch.load(io.BytesIO(read_limited(path, _MAX_EMBEDS)), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises almost anything
        raise InputError(f"{path}: no tensor that can be read ({shown(str(error), 120)})") from error
    if not isinstance(found, Tensor):
        raise InputError(f"{path}: holds a {type(found).__name__}, expected one tensor of text embeddings")
    return found


def _differences(components: tuple[Component, ...], embeds: dict[str, tuple[int, ...]]) -> list[str]:
    found = {one.name: one for one in components}
    said = [line for one in components for line in _of_component(one)]
    unet, vae = found["unet"].config, found["vae"].config
    encoder, normalizer = found["image_encoder"].config, found["image_normalizer"].config
    said += _unequal("unet", unet, "num_views", VIEWS) + _unequal("unet", unet, "sample_size", SIZE // LATENT)
    latents = vae.get("latent_channels")
    if isinstance(latents, int):  # the latents of the image that is given stand beside the noisy ones
        said += _unequal("unet", unet, "in_channels", 2 * latents) + _unequal("unet", unet, "out_channels", latents)
    if "projection_dim" in encoder:
        said += _unequal("image_normalizer", normalizer, "embedding_dim", encoder["projection_dim"])
    for name in EMBEDS:
        if name not in embeds:
            said.append(f"{name} is missing: the fixed text embeddings of the 7 images")
        elif len(embeds[name]) != 3 or embeds[name][0] != VIEWS or embeds[name][2] != unet.get("cross_attention_dim"):
            said.append(
                f"{name} has the shape {embeds[name]}, expected ({VIEWS}, tokens, {unet.get('cross_attention_dim')})"
            )
    return said


def _of_component(one: Component) -> list[str]:
    if not one.kind and not one.config and not one.weights:
        return [f"{one.name}/ is missing, expected a {' or '.join(CLASSES[one.name])}"]
    said = []
    if one.kind not in CLASSES[one.name]:
        said.append(f"{one.name} is of class '{shown(one.kind)}', expected {' or '.join(CLASSES[one.name])}")
    if not one.config:
        said.append(f"{one.name}/ has no configuration")
    if not one.weights and one.name not in _WITHOUT_WEIGHTS:
        said.append(f"{one.name}/ has no weights")
    return said


def _unequal(name: str, config: dict[str, Any], key: str, expected: object) -> list[str]:
    if not config or config.get(key) == expected:
        return []
    return [f"{name} says {key} = {shown(repr(config.get(key)))}, expected {expected}"]


def said_of(one: Component) -> dict[str, Any]:
    """Entries of its configuration that matter to whoever builds on it."""
    return {key: one.config[key] for key in _SAID if key in one.config}


@dataclass(frozen=True)
class AfterDecoding:
    """What the public script does to decoded pictures, as switches."""

    mirrored: tuple[int, ...] = (3, 4)
    """Pictures that are flipped left to right, in both domains."""
    face: int | None = 6
    """Picture of the face, whose normals are laid over those of the front; None leaves the front alone."""
    face_side: int = 256
    """Pixels to which the face is brought."""
    face_corner: tuple[int, int] = (0, 256)
    """Row and column of its top left pixel in the front."""
    front_is_given: bool = True
    """Whether the front's colours are those of the picture that the model was given."""

    @classmethod
    def of_size(cls, size: int) -> AfterDecoding:
        """As published, for pictures of another size than 768: the face has a third, in the middle above."""
        return cls(face_side=size // 3, face_corner=(0, size // 3))


@dataclass(frozen=True)
class BeforeEncoding:
    """How the public script makes the two pictures that are given out of a photo, as switches."""

    person_share: float = 740 / 768
    """Longer side of the person's box in the picture."""
    background: float = 1.0
    """Grey behind the person: white."""
    drops_last_pixels: bool = True
    """The person's box ends before its last row and column."""


def prepared_pictures(photo: Image.Image, size: int, how: BeforeEncoding | None = None) -> Float[Tensor, "2 3 h w"]:
    """The person in the middle of a square picture, and its face, which is the middle third of the picture's upper
    third; colours 0 to 1.

    Raises InputError for a photo that does not say where the person is: one without transparency, or all of it.
    """
    how = how or BeforeEncoding()
    if photo.mode != "RGBA":
        raise InputError(f"the photo has the mode {photo.mode}, expected RGBA: the person alone, transparent around")
    alpha = np.asarray(photo)[..., 3]
    if not alpha.any() or alpha.all():
        raise InputError("the photo is transparent everywhere or nowhere, expected the person alone, cut out")
    rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
    more = 0 if how.drops_last_pixels else 1
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + more, int(rows[-1]) + more)
    if box[2] <= box[0] or box[3] <= box[1]:
        raise InputError("the photo shows less than two pixels of a person")
    cut = photo.crop(box)
    scale = int(how.person_share * size) / max(cut.size)
    cut = cut.resize((max(1, int(scale * cut.width)), max(1, int(scale * cut.height))))
    whole = Image.new("RGBA", (size, size), 0)
    whole.paste(cut, ((size - cut.width) // 2, (size - cut.height) // 2))
    third = size // 3
    face = whole.crop((third, 0, 2 * third, third)).resize((size, size))
    return torch.stack([_on_grey(picture, how.background) for picture in (whole, face)])


def _on_grey(picture: Image.Image, grey: float) -> Float[Tensor, "3 h w"]:
    pixels = torch.from_numpy(np.array(picture)).float().permute(2, 0, 1) / 255
    return pixels[:3] * pixels[3:] + grey * (1 - pixels[3:])


def finished_pictures(
    normals: Float[Tensor, "view 3 h w"], colors: Float[Tensor, "view 3 h w"], given: Float[Tensor, "3 h w"],
    how: AfterDecoding | None = None,
) -> tuple[Float[Tensor, "side 3 h w"], Float[Tensor, "side 3 h w"]]:  # fmt: skip
    """Normals and colours of the sides, without the face, as the reconstruction takes them.

    Raises InputError for a switch that names no picture, and a face that does not fit into the front.
    """
    how = how or AfterDecoding()
    _require_fits(how, len(normals), min(normals.shape[2:]))
    row, column = how.face_corner
    normals, colors = normals.clone(), colors.clone()
    if how.front_is_given:
        colors[0] = given
    for view in how.mirrored:
        normals[view], colors[view] = normals[view].flip(-1), colors[view].flip(-1)
    if how.face is None:
        return normals, colors
    size = (how.face_side, how.face_side)
    face = torch.nn.functional.interpolate(normals[how.face][None], size, mode="bilinear", align_corners=False)[0]
    normals[0, :, row : row + how.face_side, column : column + how.face_side] = face
    sides = [view for view in range(len(normals)) if view != how.face]
    return normals[sides], colors[sides]


def _require_fits(how: AfterDecoding, views: int, side: int) -> None:
    named = (*how.mirrored, *(() if how.face is None else (how.face,)))
    if wrong := [view for view in named if not 0 <= view < views]:
        raise InputError(f"pictures {wrong} are to be changed, and there are {views}")
    low, high = min(how.face_corner), max(how.face_corner) + how.face_side
    if how.face is not None and (low < 0 or high > side):
        raise InputError(f"a face of {how.face_side} pixels at {how.face_corner} is not inside of a front of {side}")
