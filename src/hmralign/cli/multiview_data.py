"""`hmralign multiview poses`, `images`, `benchmark`: motions become a pose set, pictures, or persons of known truth."""

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


@dataclass(frozen=True)
class MultiViewBenchmarkOptions:
    """Write persons in hard poses with their true meshes, joints and views, or do the same with a folder of scans.

    SOURCES are motions as of `multiview poses`; without any, poses come from the prior of clips that training never
    saw. OUT gets a folder for each person, and manifest.json with the SHA-256 of every file."""

    sources: Annotated[tuple[Path, ...], Positional]
    """Files and folders of motions; none with --scans."""
    out: Path
    """Folder of the benchmark."""
    items: int = 60
    """Persons, at most as many as there are scans."""
    hard_share: float = 1.0
    """Share of them in hard poses."""
    body: tuple[Path, ...] = ()
    """SMPL-shaped body files, taken in turn; the free body where none is given. With --scans: one SMPL-X file, which
    gives the joints."""
    scans: Path | None = None
    """Folder of scans instead of motions."""
    layout: Literal["thuman21", "customhumans"] = "thuman21"
    """How the folder of scans is laid out."""
    size: int = 64
    """Pixels across a view."""
    split: Literal["train", "val", "test"] | None = None
    """Poses of pose files that are read; all where nothing is said."""
    seed: int = 0
    """Seed of poses, cameras and shapes."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The manifest as one JSON document on stdout instead of words."""


def run_multiview_benchmark(options: MultiViewBenchmarkOptions, terminal: Terminal) -> int:
    """Build, and say what of it is not as it should be."""
    from hmralign.rendering.ring import RingCameras
    from hmralign.structures.counted import counted
    from hmralign.systems.multiview_data.benchmark import BenchmarkConfig, build_benchmark, scan_benchmark

    ring = RingCameras(size=options.size)
    config = BenchmarkConfig(options.items, options.hard_share, ring, split=options.split, seed=options.seed)
    if options.scans is None:
        manifest = build_benchmark(config, options.sources, options.body, options.out)
    elif options.sources or len(options.body) > 1:
        raise UsageError("--scans takes the place of motions, and one --body at most")
    else:
        body = options.body[0] if options.body else None
        manifest = scan_benchmark(config, options.scans, options.layout, body, options.out)
    terminal.answer(manifest)
    items = manifest["items"]
    terminal.say(f"{counted(len(items), 'person')} in {options.out}")
    for count, what in (
        (sum(item["cut_share"] > 0 for item in items), "stick out of a view"),
        (sum(item["open_edges"] > 0 for item in items), "are not watertight"),
        (sum(not item["has_joints"] for item in items), "have no joints"),
    ):
        if count:
            terminal.say(f"{count} of them {what}; the manifest says which")
    return 0


@dataclass(frozen=True)
class MultiViewImagesOptions:
    """Draw a picture of each pose of a pose set, with another person, cloth, light and place in each.

    OUT gets images/*.png, persons.npz with bodies and cameras, and manifest.json with the SHA-256 of every file."""

    poses: Annotated[Path, Positional]
    """Pose file, as `multiview poses` writes it."""
    out: Path
    """Folder of the pictures."""
    images: int | None = None
    """So many pictures, of poses at even steps; one of every pose where nothing is said."""
    side: int = 256
    """Pixels across a picture."""
    split: Literal["train", "val", "test"] = "train"
    """Poses of the file that are read."""
    seed: int = 0
    """Seed of people, cameras and scenes."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The manifest as one JSON document on stdout instead of words."""


def run_multiview_images(options: MultiViewImagesOptions, terminal: Terminal) -> int:
    """Draw and write."""
    from hmralign.structures.counted import counted
    from hmralign.systems.multiview_data.images import ImagesConfig, RenderedImages, build_images

    config = ImagesConfig(options.split, options.images, options.seed)
    manifest = build_images(config, options.poses, RenderedImages(options.side), options.out)
    terminal.answer(manifest)
    terminal.say(f"{counted(manifest['poses']['used'], 'picture')} in {options.out / 'images'}")
    return 0
