"""Surfaces out of views: what is carved from the masks of a ring, held against true meshes.

    views -> masks -> visual hull -> Chamfer distance, P2S, normal consistency against the true mesh

The hull of *true* views is the reference of every row: what no outline shows stays filled, whoever made the views. Both
surfaces are about the ring's middle, in the photo's `cam` axes, and nothing is aligned further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from hmralign.metrics.intervals import bootstrap_mean
from hmralign.metrics.surfaces import Mesh, SurfaceErrors, surface_errors
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.visual_hull import visual_hull
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError

FIGURES = ("chamfer", "accuracy", "completeness", "normal_consistency")


@dataclass(frozen=True)
class Carved:
    """What became of one person's views: a mesh and its errors, or why there is no mesh."""

    mesh: Mesh | None
    errors: SurfaceErrors | None
    why_not: str = ""


def carved(
    views: Float[Tensor, "person view 4 h w"], true: Sequence[Mesh], ring: RingCameras, *, samples: int, seed: int = 0
) -> list[Carved]:
    """The hull of each person and its errors, metres. Points that are compared depend on the person's place alone.

    Views that no body can have, such as an empty one, carve nothing, and that is said; it is no error here.
    """
    found = []
    for number, (one, mesh) in enumerate(zip(views, true, strict=True)):
        try:
            made = Mesh(*visual_hull(one[:, 3].float(), ring))
        except InputError as error:
            found.append(Carved(None, None, str(error)))
            continue
        draw = seeded(seed, "surface samples", number)
        found.append(Carved(made, surface_errors(made, mesh, draw, samples=samples)))
    return found


def surface_row(found: Sequence[Carved], against: Sequence[Carved]) -> dict[str, object]:
    """Means with 95 % intervals over the persons who have a surface here and in `against`, whose means stand beside;
    how many have none. Distances are millimetres. None where nobody has a surface."""
    both = [(mine.errors, its.errors) for mine, its in zip(found, against, strict=True) if mine.errors and its.errors]
    row: dict[str, object] = {"persons": len(both), "without_surface": sum(one.errors is None for one in found)}
    for name in FIGURES:
        scale = 1.0 if name == "normal_consistency" else 1000.0
        key = name if name == "normal_consistency" else f"{name}_mm"
        values = scale * np.array([[getattr(mine, name), getattr(its, name)] for mine, its in both]).reshape(-1, 2)
        if len(values) == 0:
            row[key] = row[f"{key}_of_true_views"] = None
            continue
        mean = bootstrap_mean(values[:, 0])
        row[key] = [mean.mean, mean.low, mean.high]
        row[f"{key}_of_true_views"] = float(values[:, 1].mean())
    return row
