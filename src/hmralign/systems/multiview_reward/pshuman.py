"""`hmralign multiview pshuman`: pictures of a person from six sides by PSHuman's model, out of a photo.

a photo with the person cut out (or their mask) -> front and face -> samples -> pictures as a reconstruction takes them

sample_0/normal_front.png, color_front.png, ...   the six sides, finished (`finished_pictures`)
sample_0/normal_face.png, color_face.png          the face as it was decoded
given_front.png, given_face.png                   what the model was given
sample.json                                       settings, seed, hashes of photo and weights
"""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hmralign.adapters.pshuman import VIEW_NAMES, AfterDecoding, finished_pictures, prepared_pictures, weight_files
from hmralign.adapters.pshuman_folder import load_folder
from hmralign.data.images import load_cutout, load_image
from hmralign.detection.local_models import file_hash
from hmralign.policies.pshuman import PSHumanPolicy, PSHumanSampling
from hmralign.storage.run_record import require_own_folder
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import InputError
from hmralign.structures.counted import counted

RECORD = "sample.json"
MOST_SAMPLES = 64
_NETWORKS = ("unet", "vae", "image_encoder", "image_normalizer")


def cut_out(photo: Path, mask: Path | None) -> Image.Image:
    """The person alone, RGBA: of a photo with transparency, or by a mask of its size that is white on the person."""
    if mask is None:
        return load_cutout(photo)
    pixels, shape = load_image(photo).rgb, load_image(mask).rgb[..., :1]
    if pixels.shape[:2] != shape.shape[:2]:
        raise InputError(f"{mask}: has {shape.shape[1]} x {shape.shape[0]} pixels, the photo has another size")
    alpha = np.where(shape > 127, np.uint8(255), np.uint8(0))
    return Image.fromarray(np.concatenate([pixels, alpha], axis=2))


def sample_pshuman(
    folder: Path, photo: Path, out: Path, *, mask: Path | None = None, embeds: Path | None = None, samples: int = 1,
    seed: int = 0, sampling: PSHumanSampling | None = None, after: AfterDecoding | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Write samples; returns the record. One sample after the other, so that their number takes no memory.

    Raises InputError as the loaders, for a model without the published seven views, for a number of samples that cannot
    be, and for a folder that holds other things.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"{counted(samples, 'sample')}; expected 1 to {MOST_SAMPLES}")
    require_own_folder(out, RECORD, "holds no samples of views")
    person = cut_out(photo, mask)
    policy = PSHumanPolicy(load_folder(folder, embeds=embeds), sampling).to(device)
    if policy.shape[1] != len(VIEW_NAMES):
        raise InputError(f"{folder}: shows {policy.shape[1]} views; expected {', '.join(VIEW_NAMES)}")
    size, began = policy.parts.size, time.process_time()
    given, after = prepared_pictures(person, size), after or AfterDecoding.of_size(size)
    with finished_folder(out) as draft:
        for number in range(samples):
            draw = seeded(seed, "PSHuman", number)
            x_0 = policy.sample(policy.context(given[None].to(device), draw), 1, draw)
            with torch.no_grad():
                pictures = policy.to_pictures(x_0)[0, 0].cpu()
            _write_sample(draft / f"sample_{number}", pictures, given[0], after)
        for name, picture in zip(("front", "face"), given, strict=True):
            _write_picture(draft / f"given_{name}.png", picture)
        record = {
            "format_version": 1, "model": folder.name, "photo": photo.name, "samples": samples, "seed": seed,
            "photo_sha256": hashlib.sha256(photo.read_bytes()).hexdigest(), "size": size,
            "sampling": asdict(policy.sampling), "switches": asdict(policy.parts.config.switches),
            "after_decoding": asdict(after), "cpu_seconds": round(time.process_time() - began, 3),
            "weights_sha256": {name: file_hash(weight_files(folder / name)[0]) for name in _NETWORKS},
        }  # fmt: skip
        write_json(draft / RECORD, record)
    return record


def _write_sample(
    place: Path, pictures: Float[Tensor, "2 view 3 h w"], given: Float[Tensor, "3 h w"], after: AfterDecoding
) -> None:
    normals, colors = finished_pictures(pictures[0], pictures[1], given, after)
    sides = [name for view, name in enumerate(VIEW_NAMES) if view != after.face]
    for domain, views in (("normal", normals), ("color", colors)):
        for name, picture in zip(sides, views, strict=True):
            _write_picture(place / f"{domain}_{name}.png", picture)
    if after.face is not None:
        for domain, views in zip(("normal", "color"), pictures, strict=True):
            _write_picture(place / f"{domain}_{VIEW_NAMES[after.face]}.png", views[after.face])


def _write_picture(path: Path, picture: Float[Tensor, "3 h w"]) -> None:
    pixels = (picture * 255 + 0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    write_whole(path, content.getvalue())
