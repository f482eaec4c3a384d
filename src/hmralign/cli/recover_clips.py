"""`hmralign recover clip.mp4`: clips in, smooth motions out."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmralign.cli.exit_codes import DONE, SOME_FAILED
from hmralign.cli.photo_folders import folder_names, require_writable
from hmralign.cli.recover import (
    PhotoFailure,
    RecoverOptions,
    concerns_all,
    failure_of,
    given_intrinsics,
    load_recoverer,
    log_failure,
)
from hmralign.cli.run_file import write_run_file
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.api import Recoverer

CLIP_HYPOTHESES = 50
"""Bodies per person and frame; neighbours add what more of them would."""


@dataclass(frozen=True)
class ClipOutcome:
    """What became of one clip."""

    file: Path
    folder: Path
    skipped: bool


def names_clips(options: RecoverOptions) -> bool:
    """Whether the inputs are clips: because --video says so, or by the names of the files.

    Raises UsageError where some are and others are not.
    """
    named = [_is_clip_name(entry) for entry in options.inputs]
    if options.video or (named and all(named)):
        return True
    if any(named):
        clip = next(entry for entry, is_clip in zip(options.inputs, named, strict=True) if is_clip)
        raise UsageError(f"'{clip}' is a clip and other inputs are photos; expected a run of its own for either")
    return False


def refuse_clip_options(options: RecoverOptions) -> None:
    """Raise UsageError for options that say something about clips where there are photos."""
    usual = RecoverOptions()
    for name in ("fps", "max_frames", "max_seconds"):
        if getattr(options, name) != getattr(usual, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is about clips; expected a video file, or a folder of frames with --video")


def _is_clip_name(entry: str) -> bool:
    from hmralign.data.video.video_file import VIDEO_SUFFIXES

    return Path(entry).suffix.lower() in VIDEO_SUFFIXES and not os.path.isdir(entry)


def run_recover_clips(options: RecoverOptions, terminal: Terminal) -> int:
    """Recover every clip; the exit code says how it went."""
    from hmralign.storage.whole_folder import remove_leftovers

    if options.boxes is not None:
        raise UsageError("--boxes says who is in photos; expected --keypoints or a detector for a clip")
    if options.weighed_by is not None:
        raise UsageError("--weighed-by is about photos; expected none for a clip")
    if not options.report:
        raise UsageError("--no-report is about photos; expected --no-pictures, which leaves out a clip's page and film")
    if options.keep != 1:
        raise UsageError("--keep is about meshes of photos; expected none for a clip")
    clips = expand_clips(options.inputs)
    require_writable(options.out)
    remove_leftovers(options.out)
    chosen = options if options.num_hypotheses is not None else replace(options, num_hypotheses=CLIP_HYPOTHESES)
    with load_recoverer(chosen) as recoverer:
        if options.keypoints is None:
            _ = recoverer.detector  # missing? say so before any frame is read
        write_run_file(options.out, "recover", chosen, recoverer.provenance.record())
        done, failures = _recover_all(recoverer, clips, chosen, terminal)
    return _finish(done, failures, chosen, terminal)


def expand_clips(inputs: tuple[str, ...]) -> list[Path]:
    """Files and folders as they are named, and what patterns match, each once. Raises UsageError for nothing."""
    found: dict[Path, Path] = {}
    for entry in inputs:
        if os.path.exists(entry) or not glob.has_magic(entry):
            matches = [entry]
        else:
            matches = sorted(m for m in glob.glob(entry, recursive=True) if _is_clip_name(m))
            if not matches:
                raise UsageError(f"'{entry}' matches no video file; expected files such as clip.mp4")
        for match in matches:
            if not os.path.exists(match):
                raise UsageError(f"'{match}' does not exist; expected a video file, or a folder of frames")
            found.setdefault(Path(match).resolve(), Path(match))
    if not found:
        raise UsageError("no input was given; expected video files, or folders of frames")
    return list(found.values())


def _recover_all(
    recoverer: Recoverer, clips: list[Path], options: RecoverOptions, terminal: Terminal
) -> tuple[list[ClipOutcome], list[PhotoFailure]]:
    done: list[ClipOutcome] = []
    failures: list[PhotoFailure] = []
    log = options.out / "failures.jsonl"
    log.unlink(missing_ok=True)
    for clip, name in zip(clips, folder_names(clips), strict=True):
        try:
            done.append(recover_clip_file(recoverer, clip, options.out / name, options, terminal))
        except Exception as error:
            if len(clips) == 1 or not options.skip_bad or concerns_all(error):
                raise
            failures.append(failure_of(clip, error))
            log_failure(log, failures[-1])
            if not options.quiet:
                terminal.note(f"skipped {clip}: {failures[-1].error}")
    return done, failures


def recover_clip_file(
    recoverer: Recoverer, clip: Path, folder: Path, options: RecoverOptions, terminal: Terminal
) -> ClipOutcome:
    """Recover one clip, unless its finished result is there already; a stopped run is gone on with."""
    import shutil

    from hmralign.api import VideoBudget

    given = {
        "keypoints": options.keypoints,
        "K": given_intrinsics(options),
        "focal_px": options.focal_px,
        "fps": options.fps,
        "budget": VideoBudget(max_frames=options.max_frames, max_seconds=options.max_seconds),
    }
    if not options.overwrite and recoverer.video_already_saved(folder, clip, **given):
        return ClipOutcome(clip, folder, skipped=True)
    work = folder.parent / f".frames-{folder.name}"
    video = recoverer.video(clip, **given, work=work)
    if not options.quiet:
        for note in video.notes:
            terminal.note(f"{clip}: {note}")
    video.save(folder, pictures=options.pictures, overwrite=options.overwrite)
    shutil.rmtree(work, ignore_errors=True)
    return ClipOutcome(clip, folder, skipped=False)


def _finish(done: list[ClipOutcome], failures: list[PhotoFailure], options: RecoverOptions, terminal: Terminal) -> int:
    from hmralign.structures.counted import counted

    if not done:
        first = failures[0]
        raise UsageError(f"all of {counted(len(failures), 'clip')} failed; the first, '{first.file}': {first.error}")
    documents = [_document(outcome) for outcome in done]
    terminal.answer(
        {
            "format_version": 1,
            "out": str(options.out),
            "clips": documents,
            "failures": [{"file": str(f.file), "kind": f.kind, "error": f.error} for f in failures],
        }
    )
    tracks = sum(len(document.get("tracks") or []) for document in documents)
    words = [f"{counted(tracks, 'track')} in {counted(len(done), 'clip')}"]
    skipped = sum(outcome.skipped for outcome in done)
    if skipped:
        words.append(f"{skipped} done before")
    if failures:
        words.append(f"{len(failures)} failed (failures.jsonl)")
    page = done[0].folder / "report.html"
    terminal.say(f"{', '.join(words)}: see {page if len(done) == 1 and page.is_file() else options.out}")
    return SOME_FAILED if failures else DONE


def _document(outcome: ClipOutcome) -> dict[str, Any]:
    from hmralign.systems.video.outputs import read_clip_record

    record = read_clip_record(outcome.folder) or {}
    kept = {key: record.get(key) for key in ("clip", "notes", "tracks", "seconds")}
    return {"file": str(outcome.file), "folder": str(outcome.folder), "skipped": outcome.skipped, **kept}
