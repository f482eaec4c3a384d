"""`hmralign multiview benchmark`: bodies in hard poses, or scans, with their true meshes and views on disk.

MixamoRP (DrPose sec. 5: 60 scans of a commercial set in distinct poses of Mixamo) cannot be had; this builds a set of
its kind from bodies that can: free ones of drawn shapes, or the user's, in poses that `data.synthetic.hard_poses` calls
hard, chosen by farthest points. Folders of scans give a benchmark of the same form.

    manifest.json         the ring of cameras, where everything comes from, SHA-256 of every file
    <item>/mesh.ply       true mesh: metres, x right, y up, z towards the viewer, the middle of its box at the origin
    <item>/views.npz      `views` (view, 4, h, w) half precision as in `MultiViews`; `joints` (24, 3), metres in `cam`
                          axes about the ring's middle, where a body gives them
    <item>/strip.png      the views as a picture
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.adapters.scans import Layout, Scan, find_scans, read_scan_body
from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.mesh_file import read_mesh
from hmralign.data.motion_files import Up, read_motions
from hmralign.data.pose_file import Split
from hmralign.data.pose_selection import aligned_joints, farthest_points
from hmralign.data.synthetic.hard_poses import is_hard
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.views import ViewMix, sample_views
from hmralign.geometry.frames import CAM_TO_Y_UP
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.metrics.surfaces import Mesh
from hmralign.overlays.view_strips import view_strip
from hmralign.rendering.ring import RingCameras, body_centre
from hmralign.storage.json_file import read_record
from hmralign.storage.run_record import plain, require_own_folder
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import BodyParams, InputError
from hmralign.structures.counted import counted

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
MOST_ITEMS = 5000
_MOST_CANDIDATES = 100_000


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is built."""

    items: int = 60
    """Persons."""
    hard_share: float = 1.0
    """Share of them in hard poses; the others are in ordinary ones."""
    ring: RingCameras = field(default_factory=lambda: RingCameras(size=64))
    """Cameras of the views; bodies that are taller than its extent are cut, which the manifest says."""
    fps: float = 30.0
    """Frames per second to which motions are thinned."""
    split: Split | None = None
    """Poses of pose files that are read; all where nothing is said."""
    up: Up | None = None
    """Axis that points up in the motions; that of their layout where nothing is said."""
    shape_sd: float = 1.0
    """Standard deviation of drawn shape coefficients."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for numbers that build nothing."""
        if not 1 <= self.items <= MOST_ITEMS or not 0 <= self.hard_share <= 1 or self.shape_sd < 0:
            raise InputError(
                f"a benchmark of {counted(self.items, 'item')}, {self.hard_share:g} of them hard, with shapes of "
                f"{self.shape_sd:g}; expected 1 to {MOST_ITEMS}, 0 to 1 and no negative spread"
            )


@dataclass(frozen=True)
class BenchmarkItem:
    """One person of the benchmark, about the middle of the ring."""

    name: str
    vertices: Float[Tensor, "vert 3"]
    """Metres, `cam` axes."""
    faces: Int[Tensor, "face 3"]
    joints: Float[Tensor, "24 3"] | None
    facts: dict[str, Any]


def build_benchmark(
    config: BenchmarkConfig, sources: Sequence[str | Path], bodies: Sequence[Path], folder: Path
) -> dict[str, Any]:
    """Bodies in poses of motions, or of the prior that was fitted on other clips than training's; returns the manifest.

    Raises InputError as the readers do, for motions with too few hard or ordinary poses, and for a folder that holds
    other things.
    """
    models = [load_body(path) for path in bodies] or [load_free_body("7k")]
    made_of = [{"name": m.name, "mesh": m.mesh_hash, "skeleton": m.skeleton_hash} for m in models]
    made = {"kind": "bodies", "bodies": made_of}
    rotmats, known, origin = _poses(config, sources)
    return _written(config, folder, {**made, **origin}, _posed(config, models, rotmats, known))


def scan_benchmark(
    config: BenchmarkConfig, scans: Path, layout: Layout, body: Path | None, folder: Path
) -> dict[str, Any]:
    """The first scans of a folder by name; an SMPL-X file gives their joints. Raises InputError as the readers do."""
    found = find_scans(scans, layout)[: config.items]
    model = None if body is None else load_body(body)
    made = {"kind": "scans", "layout": layout, "label_body": None if model is None else model.mesh_hash}
    return _written(config, folder, made, (_scanned(scan, model) for scan in found))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, each of its files held against its hash. Raises InputError for what lacks or has changed."""
    manifest = read_record(folder / MANIFEST, "the manifest of a multi-view benchmark", FORMAT_VERSION)
    for item in manifest.get("items", []):
        for name, sha256 in item["files"].items():
            path = folder / item["name"] / name
            if not path.is_file():
                raise InputError(f"{path}: is missing, and the manifest has it")
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                raise InputError(f"{path}: is not the file that the manifest has")
    return manifest


def _poses(
    config: BenchmarkConfig, sources: Sequence[str | Path]
) -> tuple[Float[Tensor, "item 24 3 3"], list[dict[str, Any]], dict[str, Any]]:
    """Rotations as the photo's camera sees them, what is known of each, and where they come from."""
    draw = seeded(config.seed, "benchmark poses")
    if sources:
        motions = read_motions(sources, fps=config.fps, split=config.split, up=config.up)
        rows = torch.randperm(len(motions), generator=draw)[:_MOST_CANDIDATES].sort().values
        world = rotvec_to_rotmat(motions.rotvecs[rows])
        body_pose, up = world[:, 1:], world[:, 0, 1]
        origin = {"motions": [{"name": n, "sha256": s} for n, s in motions.sources], "split": config.split}
        marks = zip(motions.clip[rows].tolist(), motions.frame[rows].tolist(), strict=True)
        names = [f"{motions.clip_names[clip]}#{frame}" for clip, frame in marks]
    else:
        body_pose, up = load_pose_prior("heldout").sample(max(40 * config.items, 400), draw)
        origin = {"motions": "the pose prior of clips that training never saw"}
        names = [f"prior#{row}" for row in range(len(up))]
    turn = sample_views(up, ViewMix(), draw).global_orient
    rotmats = torch.cat([turn[:, None], body_pose], 1)
    chosen, hard = _chosen(config, rotmats, draw)
    kinds = zip(chosen.tolist(), hard.tolist(), strict=True)
    return rotmats[chosen], [{"pose": names[row], "hard": kind} for row, kind in kinds], origin


def _chosen(config: BenchmarkConfig, rotmats: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Poses far from each other among the hard and among the ordinary ones, and which are hard."""
    body = load_free_body("3k5")
    identity = torch.zeros(len(rotmats), 3)
    seen = BodyParams(rotmats[:, 0], rotmats[:, 1:], torch.zeros(len(rotmats), body.num_betas), identity)
    hard = is_hard(posed_joints(body, seen)[:, :NUM_JOINTS])
    wanted = round(config.hard_share * config.items)
    rotvecs = rotmat_to_rotvec(rotmats)
    parts, kinds = [], []
    for kind, rows, count in (("hard", hard, wanted), ("ordinary", ~hard, config.items - wanted)):
        own = rows.nonzero()[:, 0]
        if count == 0:
            continue
        if len(own) < count:
            raise InputError(f"the motions have {counted(len(own), f'{kind} pose')}, expected at least {count}")
        points = aligned_joints(body, rotvecs[own]).flatten(1)
        picked = farthest_points(points, count, draw)[0]
        if len(picked) < count:
            raise InputError(f"the motions have {len(picked)} distinct {kind} poses, expected at least {count}")
        parts.append(own[picked])
        kinds.append(torch.full((count,), kind == "hard"))
    return torch.cat(parts), torch.cat(kinds)


def _posed(
    config: BenchmarkConfig, models: Sequence[BodyModel], rotmats: Tensor, known: Sequence[dict[str, Any]]
) -> Iterator[BenchmarkItem]:
    for number, (turns, facts) in enumerate(zip(rotmats, known, strict=True)):
        model = models[number % len(models)]
        draw = seeded(config.seed, "benchmark shape", number)
        betas = config.shape_sd * torch.randn(model.num_betas, generator=draw).clamp(-3, 3)
        params = BodyParams(turns[:1], turns[None, 1:], betas[None], torch.zeros(1, 3))
        mesh, joints = vertices(model, params)[0], posed_joints(model, params)[0, :NUM_JOINTS]
        centre = body_centre(mesh)
        facts = {**facts, "body": model.name, "betas": [round(float(b), 6) for b in betas]}
        yield BenchmarkItem(f"{number:04d}", mesh - centre, model.faces, joints - centre, facts)


def _scanned(scan: Scan, model: BodyModel | None) -> BenchmarkItem:
    turn = torch.tensor(CAM_TO_Y_UP, dtype=torch.float64)  # its own inverse
    raw, faces = read_mesh(scan.mesh)
    mesh = raw @ turn.mT
    centre = body_centre(mesh)
    joints, facts = None, {"scan": scan.mesh.name, "hard": None}
    if scan.parameters is not None and model is not None:
        fitted = read_scan_body(scan.parameters)
        double = model.to(torch.float64)
        betas = fitted.betas[: model.num_betas][None]
        params = BodyParams(fitted.rotmats[None, 0], fitted.rotmats[None, 1:], betas, torch.zeros(1, 3).double())
        placed = fitted.scale * posed_joints(double, params)[0, :NUM_JOINTS] + fitted.transl
        joints = (placed @ turn.mT - centre).float()
        facts["hard"] = bool(is_hard(joints[None])[0])
    return BenchmarkItem(scan.name, (mesh - centre).float(), faces, joints, facts)


def _written(
    config: BenchmarkConfig, folder: Path, made: dict[str, Any], items: Iterator[BenchmarkItem]
) -> dict[str, Any]:
    require_own_folder(folder, MANIFEST, "holds no benchmark")
    with finished_folder(folder) as draft:
        entries = [_write_item(draft / item.name, item, config.ring) for item in items]
        manifest = plain({
            "format_version": FORMAT_VERSION, "made_of": made, "settings": asdict(config),
            "frame": "mesh: metres, x right, y up, z to the viewer; joints: cam axes; both about the ring's middle",
            "items": entries,
        })  # fmt: skip
        write_json(draft / MANIFEST, manifest)
    return manifest


def _write_item(place: Path, item: BenchmarkItem, ring: RingCameras) -> dict[str, Any]:
    from PIL import Image

    try:
        mesh = Mesh(item.vertices, item.faces)
    except InputError as error:
        raise InputError(f"{item.name}: {error}") from error
    views = ring.render(item.vertices[None], item.faces).pixels[0]
    cut = float(ring.cut(item.vertices[None], torch.zeros(1, 3))[0])
    arrays = {"views": views.half().numpy()}
    if item.joints is not None:
        arrays["joints"] = item.joints.numpy().astype(np.float32)
    picture = io.BytesIO()
    Image.fromarray(view_strip(views, max(1, 128 // ring.size))).save(picture, "PNG")
    write_whole(place / "mesh.ply", _ply(item))
    write_npz(place / "views.npz", arrays)
    write_whole(place / "strip.png", picture.getvalue())
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(place.iterdir())}
    return {
        "name": item.name, **item.facts, "has_joints": item.joints is not None, "vertices": len(item.vertices),
        "open_edges": mesh.open_edges(), "cut_share": round(cut, 6), "files": files,
    }  # fmt: skip


def _ply(item: BenchmarkItem) -> bytes:
    import trimesh

    upright = item.vertices.double().numpy() * np.array([1.0, -1.0, -1.0])
    content = trimesh.Trimesh(upright, item.faces.numpy(), process=False).export(file_type="ply")
    assert isinstance(content, bytes)
    return content
