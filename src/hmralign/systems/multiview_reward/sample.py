"""`hmralign multiview sample`: views of a person from all sides, out of one view, by a given base.

a body (recovered from a photo, or stored by `recover`), or a front picture -> front -> samples

<name>/views.npz     `views` (sample, view, 4, h, w), half precision, as in `MultiViews`; `front` (4, h, w)
<name>/strip_0.png   the views of a sample side by side, front first
sample.json          the ring, the weights, the seed, and where fronts come from
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import npz_sizes, read_npz, write_npz
from hmralign.models.multiview.checkpoint import view_transformer_path
from hmralign.overlays.view_strips import view_strip
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring import RingCameras, body_centre
from hmralign.storage.run_record import require_own_folder
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import BodyParams, InputError
from hmralign.structures.counted import counted
from hmralign.structures.multi_views import VIEW_CHANNELS

RECORD = "sample.json"
MOST_SAMPLES = 64
_SHOWN_SIDE = 128


@dataclass(frozen=True)
class Front:
    """One person's front, and how it was made."""

    name: str
    pixels: Float[Tensor, "4 h w"]
    """As in `MultiViews`."""
    source: str
    cut: float = 0.0
    """Share of the body that sticks out of the views."""


def ring_of(policy: MultiViewPolicy) -> RingCameras:
    """The ring that a base was trained on: as many views evenly around, of its size."""
    config = policy.network.config
    return RingCameras(tuple(360.0 * view / config.views for view in range(config.views)), config.size)


def fronts_of_bodies(bodies: Sequence[BodyParams], body: BodyModel, ring: RingCameras, source: str) -> list[Front]:
    """Fronts of recovered bodies (no batch axes, `cam` frame), as the ring's first camera sees them."""
    fronts = []
    for number, params in enumerate(bodies):
        mesh = vertices(body, params)[None]
        pixels = ring.render(mesh, body.faces).pixels[0, 0]
        cut = float(ring.cut(mesh, body_centre(mesh))[0])
        fronts.append(Front(f"person_{number}", pixels, f"{source}, person {number}", cut))
    return fronts


def fronts_of_file(path: Path, ring: RingCameras) -> list[Front]:
    """Fronts of an archive with `front` (4, h, w) or `views` (..., view, 4, h, w), whose first view counts.

    Raises InputError for another content, another size, or pixels that no view has.
    """
    there = npz_sizes(path)
    arrays = read_npz(path, [name for name in ("front", "views") if name in there])
    found = arrays.get("front", arrays.get("views"))
    if found is None or found.dtype.kind != "f" or found.ndim not in (3, 4, 5):
        raise InputError(f"{path}: has neither 'front' (4, h, w) nor 'views' (view, 4, h, w) in numbers")
    if "front" not in arrays or found.ndim == 5:
        found = found[..., 0, :, :, :]
    fronts = torch.from_numpy(found.astype(np.float32)).reshape(-1, *found.shape[-3:])
    if fronts.shape[1:] != (VIEW_CHANNELS, ring.size, ring.size):
        raise InputError(
            f"{path}: its fronts have the shape {tuple(fronts.shape[1:])}; the base sees (4, {ring.size}, {ring.size})"
        )
    mask = fronts[:, 3]
    if not bool(torch.isfinite(fronts).all()) or float(fronts.abs().max()) > 1.01 or float(mask.min()) < -0.01:
        raise InputError(f"{path}: has pixels that no view has: normals are -1 to 1, masks 0 to 1")
    if (empty := [row for row in range(len(mask)) if float(mask[row].max()) < 0.5]) != []:
        raise InputError(f"{path}: nobody is seen in front {empty[0]}")
    return [Front(f"person_{row}", one, f"{path.name}, front {row}") for row, one in enumerate(fronts)]


def sample_fronts(
    base: str, fronts: Sequence[Front], out: Path, *, samples: int = 1, seed: int = 0, num_steps: int = 10,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Write samples of every front; returns the record. Noise depends on the seed and the person's place.

    Raises InputError for nobody, a number of samples that cannot be, a folder that holds other things, and as
    `MultiViewPolicy`.
    """
    if not fronts:
        raise InputError("there is no front to sample from")
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"{counted(samples, 'sample')} of each person; expected 1 to {MOST_SAMPLES}")
    policy = MultiViewPolicy.load(base, num_steps=num_steps).to(device)
    require_own_folder(out, RECORD, "holds no samples of views")
    record: dict[str, Any] = {
        "format_version": 1, "base": Path(base).name,
        "base_sha256": hashlib.sha256(view_transformer_path(base).read_bytes()).hexdigest(),
        "ring": asdict(ring_of(policy)), "samples": samples, "seed": seed, "num_steps": num_steps,
        "persons": [{"name": f.name, "source": f.source, "cut_share": round(f.cut, 6)} for f in fronts],
    }  # fmt: skip
    with finished_folder(out) as draft:
        for number, front in enumerate(fronts):
            context = policy.context(front.pixels[None].to(device))
            x_0 = policy.sample(context, samples, seeded(seed, "sampled views", number))
            _write_person(draft / front.name, front, policy.to_views(x_0)[0].cpu())
        write_json(draft / RECORD, record)
    return record


def _write_person(place: Path, front: Front, views: Float[Tensor, "sample view 4 h w"]) -> None:
    write_npz(place / "views.npz", {"views": views.half().numpy(), "front": front.pixels.half().numpy()})
    for number, one in enumerate(views):
        picture = io.BytesIO()
        Image.fromarray(view_strip(one, max(1, _SHOWN_SIDE // one.shape[-1]))).save(picture, "PNG")
        write_whole(place / f"strip_{number}.png", picture.getvalue())
