"""`hmralign demo`: one photo, one scene of known truth, the closed loop, one page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.photo_folders import require_writable
from hmralign.cli.terminal import Terminal

if TYPE_CHECKING:
    from hmralign.api import Recoverer
    from hmralign.studies.closed_loop.run import ClosedLoopConfig
    from hmralign.systems.recover.demo_scene import TruthErrors

PORTRAIT = "astronaut.jpg"
CREDIT = "Portrait of Eileen Collins: NASA, public domain."
NO_DETECTOR = (
    "The person detector is not installed (run `hmralign setup-detector`): the portrait's keypoints come from a file "
    "that the detector made earlier, without a mask."
)


@dataclass(frozen=True)
class DemoOptions:
    """Recover a bundled photo (NASA portrait of Eileen Collins) and a rendered scene whose truth is known; then align a
    model on wild persons without labels, and show what it brought."""

    out: Path = Path("runs/demo")
    """Folder for the results; earlier ones of the demo are replaced."""
    checkpoint: str = "lite"
    """Weights: "lite", which come with the package, or the path of a .safetensors checkpoint."""
    num_hypotheses: int = 100
    """Bodies sampled per person."""
    loop: bool = True
    """Run the closed loop, which takes most of the time."""
    groups: int = 1000
    """Persons without labels in the closed loop."""
    steps: int = 300
    """Training steps of each of its two methods."""
    persons: int = 300
    """Persons its models are measured on."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = CPU
    quiet: bool = False
    """Say nothing but errors."""


def run_demo(options: DemoOptions, terminal: Terminal) -> int:
    """Recover both, compare the second with its truth, and name the page that links both."""
    from hmralign.api import Recoverer
    from hmralign.systems.recover.photo_index import write_index

    require_writable(options.out)
    if options.loop:
        from hmralign.studies.closed_loop.run import require_room

        loop_config(options)  # what is wrong is said before anything is done
        require_room(options.out / "alignment")
    parts = 3 if options.loop else 2
    with Recoverer.load(
        options.checkpoint, device=options.device, num_hypotheses=options.num_hypotheses, seed=options.seed
    ) as recoverer:
        terminal.say(f"1/{parts}  {PORTRAIT}: only the upper body is visible, so look at the doubt about the legs")
        detected = recover_portrait(recoverer, options.out / "astronaut")
        if not detected:
            terminal.note(NO_DETECTOR)
        terminal.say(f"2/{parts}  a rendered scene whose truth is known")
        errors = recover_scene(recoverer, options.out / "scene")
    notes = [CREDIT, *([] if detected else [NO_DETECTOR]), truth_sentence(errors)]
    terminal.say(f"     {notes[-1]}")
    if options.loop:
        terminal.say("3/3  the closed loop: groups on wild persons without labels, a critic, alignment")
        notes.append(run_loop(options, terminal))
    photos = [(PORTRAIT, options.out / "astronaut"), ("rendered scene", options.out / "scene")]
    loop = ("The closed loop: alignment without labels", options.out / "alignment/report.html")
    report = write_index(options.out, photos, title="hmralign demo", notes=notes, pages=[loop] if options.loop else [])
    terminal.say(f"Open {report}")
    return 0


def loop_config(options: DemoOptions) -> ClosedLoopConfig:
    """Size of the closed loop. Raises InputError for sizes that are too small."""
    from hmralign.studies.closed_loop.run import ClosedLoopConfig

    return ClosedLoopConfig(groups=options.groups, steps=options.steps, persons=options.persons, seed=options.seed)


def run_loop(options: DemoOptions, terminal: Terminal) -> str:
    """Run the closed loop; returns what it found in a sentence."""
    from hmralign.studies.closed_loop.report import write_report
    from hmralign.studies.closed_loop.run import metrics, run_closed_loop

    loop = run_closed_loop(options.out / "alignment", loop_config(options), options.device)
    report = write_report(loop, index="../report.html")
    said = []
    for name, kinds in metrics(loop)["results"].items():
        if name != "base":
            changes = (
                f"{change:+.1f} mm ({low:+.1f} to {high:+.1f}) {words}"
                for kind, words in (("samples", "on samples"), ("refined", "with refinement"))
                for change, low, high in [kinds[kind]["minus base"]["fused"]]
            )
            said.append(f"{name} {', '.join(changes)}")
    sentence = f"Change of the fused answer by alignment without labels: {'; '.join(said)}."
    terminal.say(f"     {sentence}")
    terminal.say(f"     See {report}")
    return sentence


def recover_portrait(recoverer: Recoverer, folder: Path) -> bool:
    """Recover the bundled photo; returns whether the detector found its keypoints."""
    from importlib.resources import as_file, files

    from hmralign.detection.environment import detector_environment

    assets = files("hmralign.data") / "assets"
    detected = detector_environment() is not None
    with as_file(assets / PORTRAIT) as photo, as_file(assets / "astronaut_keypoints.json") as keypoints:
        people = recoverer(photo, keypoints=None if detected else keypoints)
        people.save(folder, keep=3, overwrite=True, index=folder.parent / "report.html")
    return detected


def recover_scene(recoverer: Recoverer, folder: Path) -> TruthErrors:
    """Recover the rendered scene and compare it with its truth, also in `truth.json` beside its report."""
    from PIL import Image

    from hmralign.storage.whole_file import write_whole
    from hmralign.systems.recover.demo_scene import demo_scene, errors_against_truth

    scene = demo_scene(recoverer.body)
    picture = Image.fromarray(scene.rgb)
    picture.filename = "rendered_scene.png"  # pyright: ignore[reportAttributeAccessIssue]
    people = recoverer(picture, keypoints=scene.keypoints, K=scene.K)
    person = people[0]
    errors = errors_against_truth(
        scene, recoverer.body, person.hypotheses, person.best_index, person.fused_joints, person.spread
    )
    people.save(folder, keep=3, overwrite=True, index=folder.parent / "report.html")
    text = json.dumps({"format_version": 1, **errors.record()}, indent=2) + "\n"
    write_whole(folder / "truth.json", text)
    return errors


def truth_sentence(errors: TruthErrors) -> str:
    """The comparison in words; the bound is called one."""
    return (
        f"Against the truth of the scene (MPJPE / PA-MPJPE): fused {errors.fused_mpjpe_mm:.0f} / "
        f"{errors.fused_pa_mpjpe_mm:.0f} mm, one of the group (the critics' choice) "
        f"{errors.best_mpjpe_mm:.0f} / {errors.best_pa_mpjpe_mm:.0f} mm, "
        f"mean spread {errors.mean_spread_mm:.0f} mm; nearest of all to the truth {errors.oracle_mpjpe_mm:.0f} mm, "
        "which nobody can pick without knowing it."
    )
