"""`hmralign recover`: photos in, ranked human meshes out."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hmralign.cli import ctrl_c
from hmralign.cli.checkpoint_option import require_checkpoint
from hmralign.cli.device_option import CPU, Device
from hmralign.cli.exit_codes import DONE, SOME_FAILED
from hmralign.cli.photo_folders import folder_names, names_several, require_writable
from hmralign.cli.run_file import write_run_file
from hmralign.cli.terminal import Steps, Terminal
from hmralign.cli.usage import UsageError, in_options
from hmralign.cli.work_options import Collect, Engine, Shard, Workers, check_work, has_workers, refuse_work
from hmralign.detection.names import DETECTORS, wrong_folder

if TYPE_CHECKING:
    from hmralign.api import People, Recoverer


_DETECTOR_HELP = (
    f"Who finds people and reads --boxes: {', '.join(DETECTORS)}, or FILE.py:FUNCTION of your own; none where "
    "--keypoints, or --boxes alone, say who is there."
)

PHOTO_HYPOTHESES = 100
"""Bodies per person unless said."""


@dataclass(frozen=True)
class RecoverOptions:
    """Recover the people in photos: one answer each (fused), its uncertainty, meshes; or in clips: smooth motion.

    Each photo gets a folder in OUT with report.html, overlays, meshes (GLB, OBJ) and arrays. A photo whose finished
    result is there already is skipped; a result of other settings is replaced only with --overwrite. Of several
    photos, those that fail are listed in OUT/failures.jsonl.

    A clip is a video file, or with --video a folder of frames. It gets a folder in OUT with report.html, overlay.mp4
    and a motion for each person; a run that was stopped goes on where it was.
    """

    inputs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Photos, folders of photos, or patterns such as 'photos/*.jpg'; or clips: video files, or what --video says."""
    out: Path = Path("runs/recover")
    """Folder for the results."""
    checkpoint: str = "lite"
    """Weights: "lite", which come with the package, the path of a .safetensors checkpoint, or a folder that
    `hmralign export onnx` wrote."""
    body: Path | None = None
    """Your SMPL, SMPL-H or SMPL-X file (.npz, .pkl) instead of the free body; results are then retargeted."""
    num_hypotheses: int | None = None
    """Bodies sampled per person: 100 unless said, 50 in the frames of clips."""
    keep: int | Literal["all"] = 1
    """How many members of the group are written as meshes, those the critics like best first; fused, the answer,
    always is."""
    export: tuple[str, ...] = ()
    """More forms of the fused bodies: glb (all people, skinned), bvh, npz (in AMASS' layout); see `hmralign export`."""
    device: Device = CPU
    runtime: Literal["torch", "onnx", "bfloat16"] = "torch"
    """What computes the networks: torch, or on the CPU ONNX Runtime, which is faster (pip install 'hmralign[onnx]'), or
    torch in bfloat16, where the processor is faster at it: bodies move by half a millimetre in the mean."""
    detector: Annotated[str, tyro.conf.arg(help=_DETECTOR_HELP)] = "mediapipe"
    detector_folder: Path | None = None
    """Folder of the models of --detector vitpose: person/ (RT-DETR) and pose/ (ViTPose)."""
    keypoints: Path | None = None
    """JSON file of COCO, OpenPose or AlphaPose (for OpenPose also a folder) instead of the detector."""
    boxes: Path | None = None
    """JSON file of boxes [[x0, y0, x1, y1], ...] or {"boxes": {"a.jpg": [...]}}: whom to recover, found or not."""
    focal_px: float | None = None
    """Focal length of the photos in pixels; else EXIF, else a guess."""
    intrinsics: tuple[float, float, float, float] | None = None
    """Focal lengths and principal point in pixels: FX FY CX CY."""
    sides: Literal["both", "as-read"] = "both"
    """Where left and right, or front and back, may have been read the wrong way round: show hypotheses of both
    readings, or believe the detector. In clips as-read leaves it to the frames around."""
    seed: int = 0
    """Seed of all random numbers; the same seed gives the same answer."""
    refine: bool = True
    """Move the hypotheses onto the keypoints."""
    weighed_by: str | None = None
    """Learned scorer that weighs the hypotheses in the fused body: "scorer", "scorer-lab" or a path. It helps weights
    that have not seen such people, "lite" hardly."""
    skip_bad: bool = True
    """Go on with the other photos when one fails; --no-skip-bad stops at the first."""
    video: bool = False
    """The inputs are clips: folders of frames, or video files whatever their names."""
    fps: float | None = None
    """Frames per second of folders of frames, 30 unless said; video files have their own time."""
    max_frames: int = 36_000
    """Frames of a clip that are used at most."""
    max_seconds: float = 1800.0
    """Seconds of a clip that are used at most."""
    pictures: bool = True
    """Draw: most of the time goes there. --no-pictures leaves numbers alone: no mesh, no report, no film."""
    report: bool = True
    """Write report.html of photos, and the page that leads to them."""
    overwrite: bool = False
    """Replace earlier results."""
    shard: Shard = None
    workers: Workers = 1
    engine: Engine = "local"
    collect: Collect = False
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print one JSON document about the results, and nothing else.")] = False
    config: Path | None = None
    """YAML file of options, or the run.yaml of an earlier run; arguments replace its values."""


@dataclass(frozen=True)
class PhotoOutcome:
    """What became of one photo."""

    file: Path
    folder: Path
    people: int
    skipped: bool = False


@dataclass(frozen=True)
class PhotoFailure:
    """A photo that failed, and why."""

    file: Path
    kind: str
    error: str


def run_recover(options: RecoverOptions, terminal: Terminal) -> int:
    """Recover every photo, or every clip; the exit code says how it went."""
    require_checkpoint(options.checkpoint)
    from hmralign.cli.recover_clips import names_clips, refuse_clip_options, run_recover_clips
    from hmralign.data.images import expand_inputs
    from hmralign.storage.whole_folder import remove_leftovers
    from hmralign.systems.recover.exports import require_formats

    check_work(options)
    if names_clips(options):
        refuse_work(options, "clips are recovered one after the other by one process; name one for each command")
        return run_recover_clips(options, terminal)
    refuse_clip_options(options)
    if options.num_hypotheses is None:
        options = replace(options, num_hypotheses=PHOTO_HYPOTHESES)
    if options.export:
        require_formats(options.export)
    if not options.pictures and options.keep != 1:
        raise UsageError("--keep asks for meshes, which --no-pictures leaves out; expected one of them")

    if options.shard is not None or options.collect or has_workers(options):
        from hmralign.cli.recover_shares import run_recover_shares

        return run_recover_shares(options, terminal)
    photos = expand_inputs(options.inputs)
    several = names_several(options.inputs)
    require_writable(options.out)
    remove_leftovers(options.out)
    with load_recoverer(options) as recoverer:
        if options.keypoints is None:
            _ = recoverer.detector  # missing? say so before any photo is read
        write_run_file(options.out, "recover", options, recoverer.provenance.record())
        done, failures = _recover_all(recoverer, photos, several, options, terminal)
    return finish(done, failures, several, options, terminal)


def load_recoverer(options: RecoverOptions) -> Recoverer:
    """The recoverer that the options ask for."""
    from hmralign.api import Recoverer

    if options.keypoints is not None and options.boxes is not None:
        raise UsageError("--keypoints and --boxes are both given; expected at most one of them")
    if options.focal_px is not None and options.intrinsics is not None:
        raise UsageError("--focal-px and --intrinsics are both given; expected at most one of them")
    if options.keypoints is None and options.boxes is None and options.detector == "none":
        raise UsageError("--detector none needs --keypoints or --boxes")
    if (wrong := wrong_folder(options.detector, options.detector_folder)) is not None:
        raise UsageError(wrong)
    for name, path in (("keypoints", options.keypoints), ("boxes", options.boxes)):
        if path is not None and not path.exists():
            raise UsageError(f"--{name} '{path}' does not exist; expected a JSON file")
    return Recoverer.load(
        options.checkpoint,
        body=options.body,
        detector="none" if options.keypoints is not None else options.detector,
        detector_folder=None if options.keypoints is not None else options.detector_folder,
        device=options.device,
        runtime=options.runtime,
        num_hypotheses=PHOTO_HYPOTHESES if options.num_hypotheses is None else options.num_hypotheses,
        refine=options.refine,
        weighed_by=options.weighed_by,
        sides=options.sides,
        seed=options.seed,
    )


def _recover_all(
    recoverer: Recoverer, photos: list[Path], several: bool, options: RecoverOptions, terminal: Terminal
) -> tuple[list[PhotoOutcome], list[PhotoFailure]]:
    from hmralign.systems.recover.many_photos import side_by_side

    done, failures = [], []
    log = options.out / "failures.jsonl"
    log.unlink(missing_ok=True)
    folders = [options.out / name for name in folder_names(photos)]
    with terminal.steps(len(photos), "recovering people") as steps:  # a photo counts as one until its people are known
        works = [(photo, folder, steps.of_one()) for photo, folder in zip(photos, folders, strict=True)]
        answers = side_by_side(
            lambda work: recover_photo(recoverer, work[0], work[1], options, work[2]), works, _at_once(works, options)
        )
        with closing(answers):
            for (photo, _, one), answer in zip(works, answers, strict=True):
                error = answer.exception()
                if error is None:
                    done.append(answer.result())
                elif not isinstance(error, Exception) or not several or not options.skip_bad or concerns_all(error):
                    raise error
                else:
                    failures.append(failure_of(photo, error))
                    log_failure(log, failures[-1])
                    if not options.quiet:
                        terminal.note(f"skipped {photo}: {failures[-1].error}")
                one.over()
    return done, failures


def _at_once(photos: Sequence[object], options: RecoverOptions) -> int:
    """How many photos are worked on at once: several where each is on its own, and no code of the user's is run by
    several threads."""
    from hmralign.structures.extensions import is_extension
    from hmralign.systems.recover.many_photos import threads_that_pay

    alone = len(photos) == 1 or not options.skip_bad or is_extension("policies", options.checkpoint)
    return 1 if alone else threads_that_pay()


def recover_photo(
    recoverer: Recoverer, photo: Path, folder: Path, options: RecoverOptions, steps: Steps | None = None
) -> PhotoOutcome:
    """Recover one photo, unless its finished result is there already; `steps` counts its people."""
    steps = steps or Steps()
    if not options.overwrite and is_recovered(recoverer, photo, folder, options):
        from hmralign.systems.recover.outputs import read_record

        _export(folder, recoverer, options)
        return PhotoOutcome(photo, folder, len((read_record(folder) or {}).get("people", [])), skipped=True)
    people: People = recoverer(photo, **_given(options))
    ctrl_c.stop_if_pressed()
    steps.more(len(people) - 1)
    index = options.out / "report.html" if names_several(options.inputs) else None

    def on_person() -> None:
        ctrl_c.stop_if_pressed()
        steps.done()

    people.save(folder, **_form(options), overwrite=options.overwrite, index=index, on_person=on_person)
    _export(folder, recoverer, options)
    return PhotoOutcome(photo, folder, len(people))


def is_recovered(recoverer: Recoverer, photo: Path, folder: Path, options: RecoverOptions) -> bool:
    """Whether the finished result of a photo is there, made with the same settings."""
    return recoverer.already_saved(folder, photo, **_given(options), **_form(options))


def _given(options: RecoverOptions) -> dict[str, Any]:
    """What is said of the photos."""
    return {
        "boxes": options.boxes,
        "keypoints": options.keypoints,
        "K": given_intrinsics(options),
        "focal_px": options.focal_px,
    }


def _form(options: RecoverOptions) -> dict[str, Any]:
    """What is written."""
    return {"keep": options.keep, "pictures": options.pictures, "report": options.report}


def _export(folder: Path, recoverer: Recoverer, options: RecoverOptions) -> None:
    """The forms asked for, from the finished folder."""
    from hmralign.systems.recover.exports import export_photo

    if options.export:
        export_photo(folder, recoverer.body, options.export)


def given_intrinsics(options: RecoverOptions):
    """The intrinsics of the options as a matrix, or None."""
    import numpy as np

    if options.intrinsics is None:
        return None
    fx, fy, cx, cy = options.intrinsics
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def failure_of(photo: Path, error: Exception) -> PhotoFailure:
    """A failure in one sentence."""
    from hmralign.structures.errors import HmralignError
    from hmralign.structures.shown_name import shown_name

    words = shown_name(" ".join(str(error).split()))
    if isinstance(error, HmralignError):
        return PhotoFailure(photo, type(error).__name__, in_options(words))
    return PhotoFailure(photo, "unexpected", f"{type(error).__name__}: {words}")


def concerns_all(error: Exception) -> bool:
    """Whether the next photo would fail as well: the disk is full, or Ctrl-C broke an import."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_full or ctrl_c.was_pressed()


def log_failure(log: Path, failure: PhotoFailure) -> None:
    """Add a line to failures.jsonl."""
    from hmralign.storage.line_log import append_line
    from hmralign.structures.shown_name import shown_name

    line = json.dumps(
        {"file": shown_name(str(failure.file)), "kind": failure.kind, "error": failure.error}, ensure_ascii=False
    )
    append_line(log, line)


def finish(
    done: list[PhotoOutcome],
    failures: list[PhotoFailure],
    several: bool,
    options: RecoverOptions,
    terminal: Terminal,
) -> int:
    """Write the page that leads to the photos, and say how the run went; gives the exit code."""
    from hmralign.structures.counted import counted
    from hmralign.structures.shown_name import shown_name

    if not done:
        raise UsageError(
            f"all {counted(len(failures), 'photo')} failed; the first, '{failures[0].file}': {failures[0].error}"
        )
    report = done[0].folder / "report.html"
    if not (options.pictures and options.report):
        report = options.out if several else done[0].folder
    elif several:
        from hmralign.systems.recover.photo_index import write_index

        report = write_index(
            options.out,
            [(shown_name(d.file.name), d.folder) for d in done],
            [(shown_name(f.file.name), f.error) for f in failures],
        )
    terminal.answer(
        {
            "format_version": 1,
            "out": str(options.out),
            "report": str(report),
            "photos": [_photo_document(outcome) for outcome in done],
            "failures": [{"file": str(f.file), "kind": f.kind, "error": f.error} for f in failures],
        }
    )
    terminal.say(_final_line(done, failures, report))
    return SOME_FAILED if failures else DONE


def _photo_document(outcome: PhotoOutcome) -> dict[str, Any]:
    from hmralign.systems.recover.outputs import read_record

    record = read_record(outcome.folder) or {}
    kept = {key: record.get(key) for key in ("image", "camera", "people", "seconds")}
    return {"file": str(outcome.file), "folder": str(outcome.folder), "skipped": outcome.skipped, **kept}


def _final_line(done: list[PhotoOutcome], failures: list[PhotoFailure], report: Path) -> str:
    from hmralign.structures.counted import counted

    people = sum(outcome.people for outcome in done)
    words = [f"{counted(people, 'person', 'people')} in {counted(len(done), 'photo')}"]
    skipped = sum(outcome.skipped for outcome in done)
    if skipped:
        words.append(f"{skipped} done before")
    if failures:
        words.append(f"{len(failures)} failed (failures.jsonl)")
    return f"{', '.join(words)}: see {report}"
