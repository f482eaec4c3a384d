"""The components of PSHuman's multi-view model out of a local folder: nothing is fetched, nothing is executed.

The folder is that of `adapters.pshuman`. Networks are built from its configurations by classes that are named here, not
there: the UNet by `models.pshuman`, the autoencoder by `diffusers`, CLIP's image half by `transformers`. Weights are
safetensors, or a pickle that `models.published.snapshot` finds plain; every name and shape of them has to be the
network's (`strict`), and every number finite. They are used in float32, whatever they are stored in.

| component                 | what is read                                                                       |
| ------------------------- | ---------------------------------------------------------------------------------- |
| `unet`                    | configuration, weights                                                             |
| `vae`                     | the same; names of attention from before diffusers 0.17 (`query`, ...) are renamed |
| `image_encoder`           | the same; the table of positions of old files (`position_ids`) is left out         |
| `image_normalizer`        | `mean`, `std` (1, e)                                                               |
| `image_noising_scheduler`, `scheduler` | their schedules (`diffusion.scheduler_file`)                          |
| `feature_extractor`       | side, mean and spread of what CLIP sees; CLIP's own where there is none            |
| `normal_embeds.pt`, `clr_embeds.pt`    | words (view, token, d), in the folder, one below, or another folder   |

Text encoder and tokenizer, which published folders hold too, are not needed: the words never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.adapters.pshuman import CONFIGS, EMBEDS, embeds_path, read_embeds, weight_files
from hmralign.diffusion.schedule import Schedule
from hmralign.diffusion.scheduler_file import FileSchedule, file_schedule
from hmralign.models.checkpoint import opened_weights
from hmralign.models.fitted_weights import fitted
from hmralign.models.pshuman.diffusers_library import require_diffusers
from hmralign.models.pshuman.view_block import DOMAINS, ViewSwitches
from hmralign.models.pshuman.view_unet import CLASS, ViewUNetConfig, build_view_unet, view_unet_config
from hmralign.models.published.snapshot import inspected
from hmralign.storage.json_file import HEADER, read_json
from hmralign.structures import InputError
from hmralign.structures.errors import shown

_LARGEST, _LONGEST = 65536, 64
_RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_CLIP_ENTRIES = (
    "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads", "num_channels",
    "image_size", "patch_size", "hidden_act", "layer_norm_eps",
)  # fmt: skip
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_BICUBIC = 3


@dataclass(frozen=True)
class ClipInput:
    """What CLIP's image half sees: square pictures, whose colours are (c - mean) / std of 0 to 1."""

    side: int
    mean: tuple[float, ...] = _CLIP_MEAN
    std: tuple[float, ...] = _CLIP_STD


@dataclass(frozen=True)
class PSHumanParts:
    """A whole model, frozen and in eval mode. Its three networks are `torch.nn.Module`s of other libraries."""

    unet: Any
    config: ViewUNetConfig
    vae: Any
    scaling: float
    """Latents of the UNet are those of the autoencoder times this."""
    pixels_per_latent: int
    image_encoder: Any
    clip_input: ClipInput
    embed_mean: Float[Tensor, "1 e"]
    embed_std: Float[Tensor, "1 e"]
    embed_noise: Schedule
    """Noise of image embeddings, by its level."""
    noise: FileSchedule
    words: Float[Tensor, "2 view token d"]
    """Text embeddings of each domain (normals, colours) and view."""

    @property
    def size(self) -> int:
        """Pixels across a picture."""
        return self.config.latent_side * self.pixels_per_latent


def load_folder(folder: Path, *, embeds: Path | None = None, switches: ViewSwitches | None = None) -> PSHumanParts:
    """Open every component. `embeds` is another folder with the words; `switches` are what no configuration says.

    Raises InputError, naming the file, for what is missing, damaged, of another class, or does not fit together, and
    where the extra `[diffusers]` is not installed.
    """
    library = require_diffusers()
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder, expected one with {', '.join(_WITH_CONFIG)}")
    found = {name: _config(folder, name) for name in _WITH_CONFIG}
    unet_path = _config_path(folder, "unet")
    _require_class(unet_path, found["unet"], CLASS)
    config = view_unet_config(unet_path, found["unet"], switches)
    vae = _vae(folder, found["vae"], library)
    encoder = _encoder(folder, found["image_encoder"])
    mean, std = _normalizer(folder)
    noising = file_schedule(
        _config_path(folder, "image_noising_scheduler"), found["image_noising_scheduler"], noising_only=True
    )
    noise = file_schedule(_config_path(folder, "scheduler"), found["scheduler"])
    unet = _network(folder / "unet", lambda: build_view_unet(config), lambda state: state)
    parts = PSHumanParts(
        unet, config, vae, float(vae.config.scaling_factor), 2 ** (len(vae.config.block_out_channels) - 1), encoder,
        _clip_input(folder, encoder.config.image_size), mean, std, noising.schedule, noise, _words(embeds or folder),
    )  # fmt: skip
    _require_fitting(folder, parts)
    return parts


_WITH_CONFIG = ("unet", "vae", "image_encoder", "image_noising_scheduler", "scheduler")


def _config_path(folder: Path, name: str) -> Path:
    return folder / name / CONFIGS.get(name, "config.json")


def _config(folder: Path, name: str) -> dict[str, Any]:
    path = _config_path(folder, name)
    if not path.is_file():
        raise InputError(f"{path}: is missing")
    content = read_json(path, f"the configuration of {name}", HEADER)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no object")
    for key, value in content.items():  # bounds what a forged file can make us build
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > _LONGEST or any(type(n) is int and not -1 <= n <= _LARGEST for n in numbers):
            raise InputError(f"{path}: says {shown(key)} = {shown(repr(value))}, which cannot be")
    return content


def _require_class(path: Path, content: Mapping[str, Any], expected: str) -> None:
    said = content.get("_class_name", expected)
    if said != expected:
        raise InputError(f"{path}: is of class '{shown(said)}', expected {expected}")


def _network(place: Path, build: Callable[[], Any], renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Any:
    path = next(iter(weight_files(place)), None)
    if path is None:
        raise InputError(f"{place}: has no weights in one file, expected a .safetensors or .bin")
    return fitted(path, build, renamed(_read_state(path)))


def _read_state(path: Path) -> dict[str, Tensor]:
    """Weights by name, numbers with a point in float32."""
    if path.suffix == ".safetensors":
        with opened_weights(path, ()) as handle:
            found: dict[str, Any] = {name: handle.get_tensor(name) for name in handle.keys()}
    else:
        found = dict(inspected(path).loaded())
    if wrong := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path}: '{shown(wrong[0])}' is no tensor, expected weights alone")
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def _vae(folder: Path, content: dict[str, Any], library: Any) -> Any:
    path = _config_path(folder, "vae")
    _require_class(path, content, "AutoencoderKL")
    entries = {key: value for key, value in content.items() if not key.startswith("_")}
    if entries.get("shift_factor") is not None or entries.get("latents_mean") is not None:
        raise InputError(f"{path}: latents are moved besides being scaled, which no published folder does")

    def build() -> Any:
        try:
            return library.AutoencoderKL(**entries)
        except (ValueError, TypeError, RuntimeError, ZeroDivisionError, AttributeError) as error:
            raise InputError(f"{path}: builds no autoencoder ({shown(' '.join(str(error).split()), 200)})") from error

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {_new_name(name): value for name, value in state.items()}

    return _network(folder / "vae", build, renamed)


def _new_name(name: str) -> str:
    if ".attentions." in name:
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
    return name


def _encoder(folder: Path, content: dict[str, Any]) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    path, classes = _config_path(folder, "image_encoder"), content.get("architectures")
    if classes not in (None, ["CLIPVisionModelWithProjection"]):
        raise InputError(f"{path}: is of class {shown(repr(classes))}, expected CLIPVisionModelWithProjection")

    def build() -> Any:
        try:
            config = CLIPVisionConfig(**{key: content[key] for key in _CLIP_ENTRIES if key in content})
            return CLIPVisionModelWithProjection(config)
        except Exception as error:  # the library checks configurations with errors of its own
            raise InputError(f"{path}: builds no CLIP ({shown(' '.join(str(error).split()), 200)})") from error

    def without_table(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in state.items() if not name.endswith("embeddings.position_ids")}

    return _network(folder / "image_encoder", build, without_table)


def _normalizer(folder: Path) -> tuple[Tensor, Tensor]:
    path = next(iter(weight_files(folder / "image_normalizer")), None)
    if path is None:
        raise InputError(f"{folder / 'image_normalizer'}: has no weights in one file")
    state = _read_state(path)
    if set(state) != {"mean", "std"} or state["mean"].shape != state["std"].shape or state["mean"].ndim != 2:
        raise InputError(f"{path}: holds {shown(', '.join(sorted(state)))}, expected mean and std (1, e)")
    if not bool(torch.isfinite(state["mean"]).all()) or not bool((state["std"] > 0).all()):
        raise InputError(f"{path}: mean or std are no numbers to scale by")
    return state["mean"], state["std"]


def _clip_input(folder: Path, side: int) -> ClipInput:
    path = folder / "feature_extractor" / "preprocessor_config.json"
    if not path.is_file():
        return ClipInput(side)
    content = read_json(path, "what CLIP sees", HEADER)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no object")
    sides = [_side(content.get(key, side)) for key in ("size", "crop_size")]
    if sides != [side, side] or content.get("resample", _BICUBIC) != _BICUBIC:
        raise InputError(f"{path}: pictures are not brought to {side} pixels by bicubic resampling")
    mean, std = (tuple(content.get(key, own)) for key, own in (("image_mean", _CLIP_MEAN), ("image_std", _CLIP_STD)))
    if not all(len(v) == 3 and all(type(n) in (int, float) for n in v) for v in (mean, std)) or min(std) <= 0:
        raise InputError(f"{path}: image_mean and image_std are no three numbers each")
    return ClipInput(side, mean, std)


def _side(value: object) -> object:
    """A side, however versions of `transformers` write it."""
    return next(iter(value.values()), None) if isinstance(value, dict) else value


def _words(folder: Path) -> Float[Tensor, "2 view token d"]:
    found = {}
    for domain, name in zip(DOMAINS, reversed(EMBEDS), strict=True):
        path = embeds_path(folder, name)
        if path is None:
            raise InputError(f"{folder / name}: is missing, expected the fixed text embeddings (view, token, d)")
        found[domain] = read_embeds(path).float()
        if found[domain].ndim != 3 or not bool(torch.isfinite(found[domain]).all()):
            raise InputError(f"{path}: is no table (view, token, d) of finite numbers")
    if found["normal"].shape != found["color"].shape:
        raise InputError(f"{folder}: {EMBEDS[0]} and {EMBEDS[1]} are of different shapes")
    return torch.stack([found[domain] for domain in DOMAINS])


def _require_fitting(folder: Path, parts: PSHumanParts) -> None:
    """Raise InputError where components are not of one model."""
    config, embed_dim = parts.config, int(parts.image_encoder.config.projection_dim)
    pairs = {
        "embedding_dim of the image normalizer": (parts.embed_mean.shape[1], embed_dim),
        "projection_class_embeddings_input_dim of the unet": (config.embedding_dim, 2 * embed_dim),
        "latent_channels of the vae": (int(parts.vae.config.latent_channels), config.latent_channels),
        "views of the text embeddings": (parts.words.shape[1], config.switches.views),
        "numbers of a text embedding": (parts.words.shape[3], config.plain["cross_attention_dim"]),
    }
    for what, (there, expected) in pairs.items():
        if there != expected:
            raise InputError(f"{folder}: {what}: {there}, the rest of the model has {expected}")
