"""`hmralign multiview sample`, `surfaces`: views out of one view, meshes out of views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.rendering.ring import RingCameras
    from hmralign.systems.multiview_reward.sample import Front


@dataclass(frozen=True)
class MultiViewSampleOptions:
    """Draw views of a person from all sides out of one view, by a base that `multiview train` made.

    SOURCE is a photo, whose people are recovered first; a folder of `recover`, of a photo or of one person; or an
    archive with a front (4, h, w) or with views, whose first counts. What the model sees is the front of the body:
    normals and a mask."""

    source: Annotated[Path, Positional]
    """Photo, folder of `recover`, or .npz."""
    base: Path
    """Weights of the base."""
    out: Path
    """Folder for views.npz and strips of each person."""
    samples: int = 1
    """Samples of each person."""
    num_steps: int = 10
    """Steps of the sampler."""
    body: Path | None = None
    """Body file that people were recovered with; the free body without it."""
    keypoints: Path | None = None
    """Keypoints of the photo's people (COCO, OpenPose or AlphaPose JSON) instead of the detector."""
    seed: int = 0
    """Seed of the noise."""
    device: Device = CPU
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The record as one JSON document on stdout instead of words."""


@dataclass(frozen=True)
class MultiViewSurfacesOptions:
    """Carve meshes out of the views that models make of a benchmark's fronts, and measure them against true meshes.

    Beside the models stand the hulls of true views, which is what carving alone costs, of another person's, and of
    views whose sides alone are another person's, which is what the front gives."""

    benchmark: Annotated[Path, Positional]
    """Folder of `multiview benchmark`, of the models' size."""
    models: tuple[str, ...] = ()
    """Paths of weights; without any the references stand alone."""
    out: Path | None = None
    """Folder for surfaces.json, surfaces.md and report.html."""
    samples: int = 10_000
    """Points drawn from each surface."""
    seed: int = 1
    """Seed of noise and points."""
    device: Device = CPU
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of a table."""


def run_multiview_sample(options: MultiViewSampleOptions, terminal: Terminal) -> int:
    """Sample and write."""
    from hmralign.policies.multiview import MultiViewPolicy
    from hmralign.structures.counted import counted
    from hmralign.systems.multiview_reward.sample import ring_of, sample_fronts

    fronts = _fronts(options, ring_of(MultiViewPolicy.load(options.base)))
    record = sample_fronts(
        str(options.base), fronts, options.out, samples=options.samples, seed=options.seed,
        num_steps=options.num_steps, device=options.device,
    )  # fmt: skip
    terminal.answer(record)
    for front in fronts:
        if front.cut > 0:
            terminal.say(f"{front.name}: {100 * front.cut:.1f} % of the body sticks out of the views")
    drawn = counted(options.samples, "sample")
    terminal.say(f"{drawn} of {counted(len(fronts), 'person')}: {options.out}, strip_0.png shows the first")
    return 0


def _fronts(options: MultiViewSampleOptions, ring: RingCameras) -> list[Front]:
    from hmralign.body.body_file import load_body
    from hmralign.body.free_body import load_free_body
    from hmralign.structures import InputError
    from hmralign.systems.multiview_reward.sample import fronts_of_bodies, fronts_of_file
    from hmralign.systems.recover.exports import stored_person

    source = options.source
    if source.suffix.lower() == ".npz":
        return fronts_of_file(source, ring)
    body = load_free_body("3k5") if options.body is None else load_body(options.body)
    if not source.is_dir():
        return fronts_of_bodies(_recovered(options), body, ring, source.name)
    places = [source] if (source / "hypotheses.npz").is_file() else sorted(source.glob("person_*"))
    if not places:
        raise InputError(f"{source}: holds nobody whom `hmralign recover` wrote (no hypotheses.npz, no person_0)")
    return fronts_of_bodies([stored_person(place, body).fused for place in places], body, ring, source.name)


def _recovered(options: MultiViewSampleOptions) -> list:
    """The answers of the photo's people."""
    from hmralign.api import Recoverer

    detector = "mediapipe" if options.keypoints is None else None
    with Recoverer.load(body=options.body, detector=detector, num_hypotheses=50, device=options.device) as recoverer:
        return [person.fused for person in recoverer(options.source, keypoints=options.keypoints)]


def run_multiview_surfaces(options: MultiViewSurfacesOptions, terminal: Terminal) -> int:
    """Measure, write where a folder is given, and show the table."""
    from hmralign.systems.multiview_reward.surfaces import SurfacesConfig, evaluate_surfaces, surfaces_markdown

    if options.samples < 1:
        raise UsageError(f"--samples is {options.samples}; expected at least 1")
    config = SurfacesConfig(options.samples, options.seed)
    document = evaluate_surfaces(options.models, options.benchmark, config, options.out, options.device)
    terminal.answer(document)
    terminal.say(surfaces_markdown(document).rstrip())
    if options.out is not None:
        terminal.say(f"\nPictures are in {options.out / 'report.html'}")
    return 0
