"""`hmralign multiview poses`: motions -> a small, diverse pose set for every `--pose-file`, and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.npz_file import write_npz
from hmralign.data.motion_files import MotionPoses, Up, read_motions
from hmralign.data.pose_file import Split
from hmralign.data.pose_selection import (
    Diversity,
    PoseSelection,
    PoseSelectionConfig,
    aligned_joints,
    diversity,
    select_poses,
)
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.run_record import plain
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import InputError
from hmralign.structures.counted import counted

POSES, REPORT, PAGE = "poses.npz", "diversity.json", "diversity.md"


@dataclass(frozen=True)
class PoseSetConfig:
    """What is read, and how much of it is kept."""

    fps: float = 30.0
    """Frames per second to which motions are thinned."""
    split: Split | None = None
    """Poses of pose files that are read; all where nothing is said."""
    up: Up | None = None
    """Axis that points up in the sources; that of their layout where nothing is said."""
    as_split: Split = "train"
    """Split that the chosen poses have in the file."""
    selection: PoseSelectionConfig = field(default_factory=PoseSelectionConfig)


def build_pose_set(config: PoseSetConfig, sources: Sequence[str | Path], folder: Path) -> dict[str, Any]:
    """Write `poses.npz` and the diversity report; returns the report. The same sources and seed give the same files.

    Raises InputError as `read_motions` and `select_poses`, and for two poses or less.
    """
    motions = read_motions(sources, fps=config.fps, split=config.split, up=config.up)
    body = load_free_body("3k5")
    joints = aligned_joints(body, motions.rotvecs, config.selection.aligned)
    chosen = select_poses(motions, joints, config.selection, seeded(config.selection.seed, "pose set"))
    if len(chosen.rows) < 3:
        raise InputError(f"a pose set of {counted(len(chosen.rows), 'pose')} has no diversity; expected at least 3")
    report = _report(config, motions, joints, chosen, body.skeleton_hash)
    _write_poses(folder / POSES, config, motions, chosen)
    write_json(folder / REPORT, report)
    write_whole(folder / PAGE, diversity_markdown(report))
    return report


def _write_poses(path: Path, config: PoseSetConfig, motions: MotionPoses, chosen: PoseSelection) -> None:
    clips = torch.unique(motions.clip[chosen.rows])
    code = {"train": 0, "val": 1, "test": 2}[config.as_split]
    write_npz(path, {
        "poses": motions.rotvecs[chosen.rows].numpy(),
        "split": np.full(len(chosen.rows), code, np.uint8),
        "clip": torch.searchsorted(clips, motions.clip[chosen.rows]).numpy(),
        "frame": motions.frame[chosen.rows].numpy(),
        "clip_names": np.array([motions.clip_names[c] for c in clips.tolist()]),
        "centre": chosen.centre.numpy(),
        "is_centre": chosen.is_centre.numpy(),
    })  # fmt: skip


def _report(
    config: PoseSetConfig, motions: MotionPoses, joints: torch.Tensor, chosen: PoseSelection, skeleton_hash: str
) -> dict[str, Any]:
    centres = chosen.rows[chosen.is_centre]
    draw = seeded(config.selection.seed, "poses at random")
    random = torch.randperm(len(motions), generator=draw)[: len(centres)]
    spread: dict[str, Diversity] = {
        "centres": diversity(joints[centres]),
        "centres and neighbours": diversity(joints[chosen.rows]),
        "as many at random": diversity(joints[random]),
        "source": _of_source(joints, draw),
    }
    to_random = torch.cdist(joints.flatten(1), joints[random].flatten(1)).amin(1) / joints.shape[1] ** 0.5
    return plain({
        "format_version": 1,
        "settings": asdict(config),
        "sources": [{"name": name, "sha256": sha} for name, sha in motions.sources],
        "left_out": [{"name": name, "why": why} for name, why in motions.left_out],
        "skeleton_hash": skeleton_hash,
        "source_poses": len(motions),
        "clips": len(motions.clip_names),
        "poses": len(chosen.rows),
        "centres": len(centres),
        "neighbours_missing": chosen.short,
        "joint_sd_ratio": round(spread["centres and neighbours"].joint_sd / spread["source"].joint_sd, 4),
        "diversity": {name: found.millimetres() for name, found in spread.items()},
        "cover_mm": {
            "centres": _cover(chosen.distance),
            "as many at random": _cover(to_random),
        },
    })  # fmt: skip


_MOST_COMPARED = 20_000


def _of_source(joints: torch.Tensor, generator: torch.Generator) -> Diversity:
    """The spread of all; nearest neighbours among at most 20,000 drawn poses, or they would take hours."""
    some = joints[torch.randperm(len(joints), generator=generator)[:_MOST_COMPARED].sort().values]
    found = diversity(some)
    points = joints.flatten(1).double() / joints.shape[1] ** 0.5
    sd = float((points - points.mean(0)).square().sum(1).mean().sqrt())
    return Diversity(len(joints), sd, found.nearest_p5, found.nearest_median, found.nearest_p95)


def _cover(distance: torch.Tensor) -> dict[str, float]:
    """How far the source's poses are from the nearest one that stands for them."""
    return {"mean": round(1000 * float(distance.mean()), 2), "largest": round(1000 * float(distance.max()), 2)}


def diversity_markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    settings = report["settings"]["selection"]
    spread = markdown_table(
        ["poses", "number", "joint standard deviation (mm)", "nearest other: 5 %", "half", "95 %"],
        [[name, *map(str, found.values())] for name, found in report["diversity"].items()],
    )
    cover = markdown_table(
        ["stands for the source", "mean distance (mm)", "largest"],
        [[name, str(found["mean"]), str(found["largest"])] for name, found in report["cover_mm"].items()],
    )
    undone = "place and turn" if settings["aligned"] == "root" else "place"
    return (
        f"# A pose set of {counted(report['poses'], 'pose')}\n\n"
        f"{counted(report['centres'], 'centre')} by farthest points from {counted(report['source_poses'], 'pose')} of "
        f"{counted(report['clips'], 'clip')}, and up to {settings['neighbours']} frames around each "
        f"({report['neighbours_missing']} are missing where clips end or share frames). Distances are the root mean "
        f"square over 24 joints of the free body's mean shape, the pelvis' {undone} undone. The set's joint standard "
        f"deviation is {report['joint_sd_ratio']} of the source's; nearest neighbours of the source are among at most "
        f"{_MOST_COMPARED} drawn poses.\n\n{spread}\n\n{cover}\n"
    )
