"""`hmralign multiview poses`: motions become a small, diverse pose set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class MultiViewPosesOptions:
    """Choose poses far from each other out of motions, and their neighbours in time; say how diverse they are.

    SOURCES are AMASS or SMPL-X archives, folders of Motion-X, BVH files, and pose files of this package. OUT gets
    poses.npz, which every --pose-file takes, and the report, diversity.md and .json."""

    sources: Annotated[tuple[Path, ...], Positional]
    """Files and folders of motions."""
    out: Path
    """Folder of the pose set."""
    centres: int = 1500
    """Poses chosen by farthest points, at most."""
    neighbours: int = 9
    """Frames around each of them, at most."""
    fps: float = 30.0
    """Frames per second to which motions are thinned."""
    split: Literal["train", "val", "test"] | None = None
    """Poses of pose files that are read; all where nothing is said."""
    seed: int = 0
    """Seed of the first pose."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The report as one JSON document on stdout instead of words."""


def run_multiview_poses(options: MultiViewPosesOptions, terminal: Terminal) -> int:
    """Choose and write."""
    from hmralign.data.pose_selection import PoseSelectionConfig
    from hmralign.systems.multiview_data.poses import PoseSetConfig, build_pose_set, diversity_markdown

    if not options.sources:
        raise UsageError("no motion was given; expected AMASS, SMPL-X, Motion-X, BVH or pose files")
    selection = PoseSelectionConfig(options.centres, options.neighbours, seed=options.seed)
    config = PoseSetConfig(fps=options.fps, split=options.split, selection=selection)
    report = build_pose_set(config, options.sources, options.out)
    terminal.answer(report)
    terminal.say(diversity_markdown(report).rstrip())
    terminal.say(f"\nThe poses are in {options.out / 'poses.npz'}.")
    return 0
