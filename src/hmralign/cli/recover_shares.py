"""`hmralign recover --shard`, `--workers`, `--collect`: photos recovered by any number of processes.

    photo -> its folder in OUT, whole or not at all; a photo that fails -> OUT/parts/.../failure.json
    collected: run.yaml, failures.jsonl, report.html

Every photo has a folder of its own already, so that shares need nothing but their failures written apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hmralign.cli.photo_folders import folder_names, names_several, require_writable
from hmralign.cli.recover import (
    PHOTO_HYPOTHESES,
    PhotoFailure,
    PhotoOutcome,
    RecoverOptions,
    concerns_all,
    failure_of,
    finish,
    is_recovered,
    load_recoverer,
    log_failure,
    recover_photo,
)
from hmralign.cli.run_file import NOT_KEPT, write_run_file
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.cli.work_options import has_workers, make_one_share, run_workers, told_to_the_driver

if TYPE_CHECKING:
    from hmralign.api import Recoverer
    from hmralign.engines.work import Units

_FAILURE = "failure.json"
_NOT_OF_THE_RESULT = (*NOT_KEPT, "out", "quiet", "json", "device")


def run_recover_shares(options: RecoverOptions, terminal: Terminal) -> int:
    """One share, or all of them and what they make together; gives the exit code."""
    if options.overwrite:
        raise UsageError("--overwrite is for one process; name another folder with --out")
    require_writable(options.out)
    open_units = partial(opened_photos, options)
    if options.shard is not None:
        return make_one_share(options, open_units, options.out, terminal)
    if has_workers(options):
        run_workers(options, open_units, options.device)
    with opened_photos(options) as units:
        assert isinstance(units, PhotoUnits)
        return _collect(units, options, terminal)


@contextmanager
def opened_photos(options: RecoverOptions) -> Iterator[Units]:
    """The photos, for a worker: everything is loaded."""
    from hmralign.data.images import expand_inputs
    from hmralign.engines.manifest import Manifest
    from hmralign.engines.parts import clear_leftovers, parts_folder
    from hmralign.storage.whole_folder import remove_leftovers

    if options.num_hypotheses is None:  # a worker may get the options as they were typed
        options = dataclasses.replace(options, num_hypotheses=PHOTO_HYPOTHESES)
    with told_to_the_driver():
        photos = expand_inputs(options.inputs)
        names = folder_names(photos)
        manifest = Manifest.of_units("recover", _settings(options), ([name] for name in names))
        manifest.hold(parts_folder(options.out))
        remove_leftovers(options.out)
        clear_leftovers(parts_folder(options.out))
        with load_recoverer(options) as recoverer:
            if options.keypoints is None:
                _ = recoverer.detector  # missing? say so before any photo is read
            yield PhotoUnits(recoverer, photos, [options.out / name for name in names], options)


@dataclass(frozen=True)
class PhotoUnits:
    """A unit is a photo (`engines.work.Units`)."""

    recoverer: Recoverer
    photos: list[Path]
    folders: list[Path]
    options: RecoverOptions

    def __len__(self) -> int:
        return len(self.photos)

    def make(self, number: int) -> bool:
        """Recover a photo, or write down why it failed; False where either is there."""
        photo, folder = self.photos[number], self.folders[number]
        if self.failure(number) is not None:
            return False
        try:
            return not recover_photo(self.recoverer, photo, folder, self.options).skipped
        except Exception as error:
            if not self.options.skip_bad or concerns_all(error):
                raise
            self._write_failure(number, failure_of(photo, error))
            return True

    def missing(self) -> list[int]:
        """Numbers of the photos that have neither a result nor a failure."""
        return [number for number in range(len(self)) if self.failure(number) is None and not self._is_there(number)]

    def failure(self, number: int) -> PhotoFailure | None:
        """Why a photo failed; None where it did not."""
        from hmralign.engines.parts import part_folder, parts_folder
        from hmralign.storage.json_file import read_record

        path = part_folder(parts_folder(self.options.out), number) / _FAILURE
        if not path.is_file():
            return None
        record = read_record(path, "the record of a photo that failed", 1)
        return PhotoFailure(self.photos[number], str(record["kind"]), str(record["error"]))

    def _is_there(self, number: int) -> bool:
        return is_recovered(self.recoverer, self.photos[number], self.folders[number], self.options)

    def _write_failure(self, number: int, failure: PhotoFailure) -> None:
        from hmralign.engines.parts import making, parts_folder
        from hmralign.storage.whole_file import write_json

        with making(parts_folder(self.options.out), number) as draft:
            write_json(draft / _FAILURE, {"format_version": 1, "kind": failure.kind, "error": failure.error})


def _settings(options: RecoverOptions) -> dict[str, str]:
    """All that decides the results, as text."""
    chosen = dataclasses.asdict(options)
    return {name: str(value) for name, value in chosen.items() if name not in _NOT_OF_THE_RESULT}


def _collect(units: PhotoUnits, options: RecoverOptions, terminal: Terminal) -> int:
    """What one process leaves in OUT beside the photos' folders. Raises UsageError where photos are missing."""
    from hmralign.engines.parts import parts_folder, remove_parts_folder
    from hmralign.structures.counted import counted

    if missing := units.missing():
        raise UsageError(
            f"{options.out}: of {counted(len(units), 'photo')} {len(missing)} are missing, the first is number "
            f"{missing[0]} ('{units.photos[missing[0]]}'); run its share again, or this command without --collect"
        )
    write_run_file(options.out, "recover", options, units.recoverer.provenance.record())
    log = options.out / "failures.jsonl"
    log.unlink(missing_ok=True)
    done, failures = [], []
    for number, (photo, folder) in enumerate(zip(units.photos, units.folders, strict=True)):
        failure = units.failure(number)
        if failure is None:
            done.append(PhotoOutcome(photo, folder, _people_in(folder)))
            continue
        failures.append(failure)
        log_failure(log, failure)
        if not options.quiet:
            terminal.note(f"skipped {photo}: {failure.error}")
    remove_parts_folder(parts_folder(options.out))
    return finish(done, failures, names_several(options.inputs), options, terminal)


def _people_in(folder: Path) -> int:
    from hmralign.systems.recover.outputs import read_record

    return len((read_record(folder) or {}).get("people", []))
