"""`hmralign multiview surfaces`: meshes carved out of models' views against the true meshes of a benchmark.

The benchmark is a folder of `hmralign multiview benchmark`: free or other bodies in hard poses, or scans. Rows: hulls
of the true views (the reference), of another person's views, of the true front and back with another person's sides
(who sees the front knows as much), of each model, which sees the front, and of each with its own sides exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.alignment.multiview_reward import sampled_views
from hmralign.body.npz_file import read_npz
from hmralign.data.mesh_file import read_mesh
from hmralign.evaluation.multiview_controls import with_sides_of_another
from hmralign.evaluation.multiview_surfaces import Carved, carved, surface_row
from hmralign.metrics.surfaces import Mesh
from hmralign.overlays.view_strips import view_strip
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.ring_persons import RingPersons
from hmralign.reports.markdown_table import markdown_table
from hmralign.reports.multiview_report import MultiViewReport, StripsOfPerson, write_multiview_report
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.systems.multiview_data.benchmark import read_manifest

SHOWN = 6
MOST_SAMPLES = 1_000_000
_TRUE, _OTHER, _SIDES = "true views", "another person", "sides of another person"
_UPRIGHT = torch.tensor([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class SurfacesConfig:
    """What is measured."""

    samples: int = 10_000
    """Points drawn from each surface."""
    seed: int = 1
    """Seed of the models' noise and of the points."""

    def __post_init__(self) -> None:
        """Raise InputError for a number of points that cannot be."""
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise InputError(f"surfaces are compared by {self.samples} samples, expected 1 to {MOST_SAMPLES}")


@dataclass(frozen=True)
class SurfaceBenchmark:
    """Persons of a benchmark with their true meshes, about the ring's middle in `cam` axes."""

    names: tuple[str, ...]
    views: Float[Tensor, "person view 4 h w"]
    meshes: tuple[Mesh, ...]
    ring: RingCameras
    made_of: dict[str, Any]
    hard: int

    @staticmethod
    def open(folder: Path) -> SurfaceBenchmark:
        """Raises InputError as `read_manifest`, for a ring that cannot be, and for views of another one."""
        manifest = read_manifest(folder)
        ring, items = _ring(folder, manifest), manifest.get("items", [])
        if not items:
            raise InputError(f"{folder}: its benchmark has no person")
        views, meshes = [], []
        for item in items:
            place = folder / item["name"]
            found = read_npz(place / "views.npz", ["views"]).get("views")
            if found is None or found.shape != (ring.num_views, 4, ring.size, ring.size):
                raise InputError(f"{place / 'views.npz'}: has no views of {ring.num_views} x {ring.size} pixels")
            views.append(torch.from_numpy(found.astype(np.float32)))
            vertices, faces = read_mesh(place / "mesh.ply")
            meshes.append(Mesh(vertices.float() * _UPRIGHT, faces))
        names = tuple(item["name"] for item in items)
        hard = sum(bool(item.get("hard")) for item in items)
        return SurfaceBenchmark(names, torch.stack(views), tuple(meshes), ring, manifest["made_of"], hard)

    def sampled(self, model: str, seed: int, device: str | torch.device) -> Float[Tensor, "person view 4 h w"]:
        """Views that a model makes of the fronts. Raises InputError for a model of another ring."""
        policy = MultiViewPolicy.load(model).to(device)
        config = policy.network.config
        if (config.views, config.size) != (self.ring.num_views, self.ring.size):
            raise InputError(
                f"{model}: makes {config.views} views of {config.size} pixels; the benchmark has "
                f"{self.ring.num_views} of {self.ring.size} (`hmralign multiview benchmark --size {config.size}`)"
            )
        persons = RingPersons(self.views.half(), torch.zeros(len(self.views), 24, 3))
        return sampled_views(policy, persons, seed).cpu()


def evaluate_surfaces(
    models: Sequence[str], folder: Path, config: SurfacesConfig, out: Path | None, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Figures of every row; with `out` also surfaces.json, surfaces.md and report.html.

    Raises InputError as `SurfaceBenchmark`.
    """
    persons = SurfaceBenchmark.open(folder)
    views = {_TRUE: persons.views, _OTHER: persons.views.roll(1, 0)}
    made_by = {_TRUE: persons.views} | {model: persons.sampled(model, config.seed, device) for model in models}
    for name, made in made_by.items():
        views |= {name: made}
        if persons.ring.num_views % 2 == 0:  # else nobody is seen from behind
            views |= {f"{name}, {_SIDES}": with_sides_of_another(made)}
    found = {
        name: carved(made, persons.meshes, persons.ring, samples=config.samples, seed=config.seed)
        for name, made in views.items()
    }
    rows = [{"views": name, **surface_row(of, found[_TRUE])} for name, of in found.items()]
    document = {
        "format_version": 1, "persons": len(persons.names), "hard": persons.hard, "made_of": persons.made_of,
        "ring": asdict(persons.ring), "samples": config.samples, "seed": config.seed, "unit": "millimetres",
        "alignment": "none: both surfaces are about the ring's middle", "rows": rows,
    }  # fmt: skip
    if out is not None:
        write_json(out / "surfaces.json", document)
        write_whole(out / "surfaces.md", surfaces_markdown(document))
        write_multiview_report(out / "report.html", _report(persons, views, found, document))
    return document


def surfaces_markdown(document: dict[str, Any]) -> str:
    """The table with what its figures mean."""
    header = ["views", "Chamfer, mm", "95 %", "of true views", "P2S, mm", "normals", "of true views", "no surface"]
    lines = []
    for row in document["rows"]:
        chamfer, p2s, normals = row["chamfer_mm"], row["accuracy_mm"], row["normal_consistency"]
        if chamfer is None:
            lines.append([_short(row["views"]), *["-"] * 6, str(row["without_surface"])])
            continue
        lines.append([
            _short(row["views"]), f"{chamfer[0]:.1f}", f"{chamfer[1]:.1f} to {chamfer[2]:.1f}",
            f"{row['chamfer_mm_of_true_views']:.1f}", f"{p2s[0]:.1f}", f"{normals[0]:.3f}",
            f"{row['normal_consistency_of_true_views']:.3f}", str(row["without_surface"]),
        ])  # fmt: skip
    return "\n\n".join([
        f"Visual hulls of {counted(document['persons'], 'person')} ({document['hard']} in hard poses), views of "
        f"{document['ring']['size']} pixels, against the true meshes. Chamfer is half the sum of both ways, P2S from "
        f"the hull to the true surface, normals the mean cosine both ways; {document['samples']} samples of each "
        "surface, millimetres, no alignment: both are about the ring's middle. 95 % intervals over persons.",
        markdown_table(header, lines),
        "`of true views`: the hull of true views of the same persons, which is what carving alone costs. Persons "
        "without a surface are in no mean of their row.",
    ]) + "\n"  # fmt: skip


def _ring(folder: Path, manifest: dict[str, Any]) -> RingCameras:
    try:
        said = manifest["settings"]["ring"]
        rays = int(said["supersampling"])
        return RingCameras(tuple(said["azimuths"]), int(said["size"]), float(said["extent"]), rays)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: its manifest says no ring of cameras ({error})") from error


def _report(
    persons: SurfaceBenchmark, views: dict[str, Tensor], found: dict[str, list[Carved]], document: dict[str, Any]
) -> MultiViewReport:
    scale = max(1, 128 // persons.ring.size)
    shown = []
    for number, name in enumerate(persons.names[:SHOWN]):
        strips: list[tuple[str, np.ndarray]] = []
        for row, made in views.items():
            if row == _OTHER or row.endswith(_SIDES):
                continue
            strips.append((f"views: {_short(row)}", view_strip(made[number], scale)))
            hull = found[row][number]
            if hull.mesh is None or hull.errors is None:
                strips[-1] = (f"views: {_short(row)}; {hull.why_not}", strips[-1][1])
                continue
            drawn = persons.ring.render(hull.mesh.vertices[None].float(), hull.mesh.faces).pixels[0]
            strips.append((f"its hull: {hull.errors.stated()}", view_strip(drawn, scale)))
        shown.append(StripsOfPerson(f"person {name}", strips))
    facts = {_short(row["views"]): _said(row) for row in document["rows"]}
    return MultiViewReport(
        "Surfaces out of views", f"{counted(document['persons'], 'person')}, {document['hard']} in hard poses", shown,
        facts=facts | {"samples": str(document["samples"]), "alignment": document["alignment"]},
        caveats=["A visual hull fills what no outline shows; the hull of true views is what carving alone costs."],
    )  # fmt: skip


def _said(row: dict[str, Any]) -> str:
    if row["chamfer_mm"] is None:
        return f"no surface of {counted(row['without_surface'], 'person')}"
    return (
        f"Chamfer {row['chamfer_mm'][0]:.1f} mm, P2S {row['accuracy_mm'][0]:.1f} mm, normal consistency "
        f"{row['normal_consistency'][0]:.3f}"
    )


def _short(name: str) -> str:
    return Path(name).name if "/" in name else name
