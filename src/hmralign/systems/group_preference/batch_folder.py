"""A folder of requests on disk, for services that take files and for `vllm run-batch`.

    folder/
      manifest.json                what the requests are of; a folder is continued with the same alone
      requests_00000.jsonl         a line per request, up to the limits of a file
      index_00000.jsonl            first the size and hash of that file, then whom each of its requests is about
      images/ab/abcd....jpg        pictures by the hash of their bytes, where they are not inside the requests
      .lock                        held by the one process that writes

A file of requests counts once its index is there, which is written last: a kill costs the file that was being written.
Each request is in a folder once. The requests and images show people.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any, Literal

from hmralign.storage.folder_lock import held_folder
from hmralign.storage.json_file import RECORD, JsonLimits, parse_json, read_json_lines
from hmralign.storage.limited_file import read_limited
from hmralign.storage.run_record import plain, require_own_folder, require_same_run
from hmralign.storage.whole_file import naming_file, write_json, write_json_lines, write_whole
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.vlm.batch_lines import request_line
from hmralign.vlm.chat import ChatRequest, ImagePart, LimitField, TextPart
from hmralign.vlm.image_tokens import ImageGrid
from hmralign.vlm.request_body import picture_kind, request_of_body

FORMAT_VERSION = 1
_MEGABYTE = 10**6
_REQUEST = JsonLimits(max_bytes=256 * 2**20)
"""A request with its pictures; a whole file of them has less unless it was asked to be larger."""
_LEFT_BY_A_KILL = (".lock", ".manifest.json.*")
_PICTURE = re.compile(r"[0-9a-f]{64}\.(jpg|png)\Z")

Images = Literal["inline", "files", "urls"]


@dataclass(frozen=True)
class BatchLimits:
    """Limits of one file of requests."""

    max_requests: int = 50_000
    """What OpenAI's service takes."""
    max_megabytes: float = 190.0
    """A megabyte is a million bytes; hosted services stop at 100 to 200."""

    def __post_init__(self) -> None:
        """Raise InputError for limits that let nothing through."""
        if self.max_requests < 1 or not self.max_megabytes > 0:
            raise InputError(
                f"files of at most {counted(self.max_requests, 'request')} and {self.max_megabytes:g} MB; "
                "expected more than 0"
            )


@dataclass(frozen=True)
class Manifest:
    """What all requests of a folder have in common."""

    store: str
    """Hash that knows the store again."""
    model: str
    settings: dict[str, Any]
    """Settings of the judge, as with the scores: prompt, plan, style, and so on."""
    memory_sha256: str | None
    images: Images = "inline"
    address: str = ""
    """What stands before the name of a picture, where pictures are files or have addresses."""
    send_schema: bool = True
    check_pictures: ImageGrid | None = None
    """As `Limits.check_pictures`, for the answers."""
    limit_field: LimitField = "max_tokens"
    """Name under which requests say the longest answer."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return plain({"format_version": FORMAT_VERSION, **asdict(self)})

    @staticmethod
    def of_json(content: dict[str, Any], where: Path) -> Manifest:
        """Raises InputError for anything else than `to_json` gives."""
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(f"{where}: format version {version}, this program reads {FORMAT_VERSION}")
        try:
            grid = content["check_pictures"]
            checked: dict[str, Any] = {"check_pictures": None if grid is None else ImageGrid(**grid)}
            return Manifest(**{k: v for k, v in (content | checked).items() if k != "format_version"})
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: no manifest of a batch ({error})") from error


@dataclass(frozen=True)
class BatchEntry:
    """Where a request lies and whom it is about."""

    custom_id: str
    key: str
    """Key of the question in the journal."""
    request_hash: str
    """Hash of what is sent."""
    group: str
    hypotheses: tuple[int, ...]
    labels: tuple[str, ...]
    schema: dict[str, Any] | None = None
    """Schema of the answer, where the request does not say it."""
    file: str = ""
    offset: int = 0
    """In bytes from the start of its file."""
    length: int = 0
    """In bytes, with the end of the line."""


@dataclass(frozen=True)
class BatchFile:
    """A file of requests that is complete."""

    file: str
    requests: int
    bytes: int
    sha256: str


class BatchFolder:
    """A folder of requests, open to read."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, path: str | Path) -> BatchFolder:
        """Raises InputError where there is no manifest, or a damaged one."""
        path = Path(path)
        manifest = _read_manifest(path)
        if manifest is None:
            raise InputError(f"{path}: no manifest.json; expected a folder of `hmralign critic export-batch`")
        return cls(path, manifest)

    def files(self) -> list[BatchFile]:
        """Complete files, in order."""
        return [_read_index(path)[0] for path in _indices(self.path)]

    def entries(self) -> Iterator[BatchEntry]:
        """All requests of complete files. Raises InputError naming a damaged index."""
        for path in _indices(self.path):
            yield from _read_index(path)[1]

    def request(self, entry: BatchEntry) -> ChatRequest:
        """What was asked, with its pictures. Raises InputError where files are missing or changed."""
        path = self.path / entry.file
        try:
            with path.open("rb") as file:
                file.seek(entry.offset)
                line = parse_json(file.read(min(entry.length, _REQUEST.max_bytes + 1)), _REQUEST)
            if line["custom_id"] != entry.custom_id:
                raise ValueError("another request lies there")
            return request_of_body(line["body"], self._picture, entry.schema)
        except FileNotFoundError as error:
            raise InputError(
                f"{Path(error.filename).name} is missing in {self.path}; keep requests and images until all answers "
                "are imported"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: was changed since it was written ({error})") from error

    def _picture(self, address: str) -> bytes:
        return picture_path(self.path, address.rsplit("/", 1)[-1]).read_bytes()


class BatchWriter(BatchFolder):
    """A folder that this process alone adds to."""

    def __init__(self, path: Path, manifest: Manifest, limits: BatchLimits) -> None:
        super().__init__(path, manifest)
        self.limits = limits
        self.keys = {entry.custom_id: entry.key for entry in self.entries()}
        self.written: list[BatchFile] = []
        self._open_file: _FileInWork | None = None

    def add(self, entry: BatchEntry, request: ChatRequest) -> bool:
        """Add a request; False where the folder has it.

        Raises InputError for one that is larger than a file may be, and where another question has its name.
        """
        if (key := self.keys.get(entry.custom_id)) is not None:
            if key != entry.key:
                raise InputError(f"{self.path}: two questions have the name {entry.custom_id}; use another folder")
            return False
        manifest = self.manifest
        pictures = "inline" if manifest.images == "inline" else "address"
        if pictures == "address":
            request = replace(request, parts=tuple(self._addressed(part) for part in request.parts))
        line = request_line(
            entry.custom_id, request, manifest.model, pictures=pictures,
            schema_field="response_format" if manifest.send_schema else "none",
        )  # fmt: skip
        if not manifest.send_schema:
            entry = replace(entry, schema=request.schema)
        self._room_for(len(line), entry).add(line, entry)
        self.keys[entry.custom_id] = entry.key
        return True

    def finish(self) -> None:
        """Complete the file that is open."""
        if self._open_file is not None:
            self.written.append(self._open_file.complete())
            self._open_file = None

    def abandon(self) -> None:
        """Close the file that is open; what is in it is written again by the next run."""
        if self._open_file is not None:
            self._open_file.close()

    def _room_for(self, size: int, entry: BatchEntry) -> _FileInWork:
        most = self.limits.max_megabytes * _MEGABYTE
        if size > most:
            raise InputError(
                f"a request about group '{entry.group}' has {size / _MEGABYTE:.3g} MB, and a file may have "
                f"{self.limits.max_megabytes:g}; raise the limit, ask in smaller windows, or keep pictures in files"
            )
        started = self._open_file
        if started is not None and (started.size + size > most or len(started.entries) >= self.limits.max_requests):
            self.finish()
        if self._open_file is None:
            numbers = [int(path.stem.removeprefix("index_")) for path in _indices(self.path)]
            self._open_file = _FileInWork(self.path / f"requests_{max(numbers, default=-1) + 1:05d}.jsonl")
        return self._open_file

    def _addressed(self, part: TextPart | ImagePart) -> TextPart | ImagePart:
        """With the address of its picture, which is in a file then."""
        if isinstance(part, TextPart):
            return part
        name = f"{part.sha256}.{'png' if picture_kind(part.data) == 'png' else 'jpg'}"
        path = picture_path(self.path, name)
        if not path.is_file():
            write_whole(path, part.data)
        return ImagePart(part.data, f"{self.manifest.address}{path.parent.name}/{name}")


@contextmanager
def exporting(path: str | Path, manifest: Manifest, limits: BatchLimits) -> Iterator[BatchWriter]:
    """Begin or continue a folder. The last file has to be completed with `finish`; a run that fails leaves it out.

    Raises InputError where another process writes, where the folder holds something else, and where its requests are of
    another store, model, memory or settings, naming the first that differs.
    """
    path = Path(path)
    there = _read_manifest(path)
    require_own_folder(path, "manifest.json", "no folder of requests", _is_left_by_a_kill)
    if there is not None:
        require_same_run(path, there.to_json(), manifest.to_json(), what="its requests were")
    with held_folder(path, "writing requests there"):
        if there is None:
            write_json(path / "manifest.json", manifest.to_json())
        _remove_unfinished(path)
        writer = BatchWriter(path, manifest, limits)
        try:
            yield writer
        finally:
            writer.abandon()


def picture_path(folder: Path, name: str) -> Path:
    """Where a picture lies. Raises InputError for a name that is no hash."""
    if not _PICTURE.match(name):
        raise InputError(f"'{name[:80]}' is no name of a picture of a batch")
    return folder / "images" / name[:2] / name


@dataclass
class _FileInWork:
    """Written beside its place."""

    path: Path
    entries: list[BatchEntry] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._file: IO[bytes] = self._part.open("wb")
        self._digest = hashlib.sha256()

    def add(self, line: bytes, entry: BatchEntry) -> None:
        with naming_file(self.path):
            self._file.write(line)
        self._digest.update(line)
        self.entries.append(replace(entry, file=self.path.name, offset=self.size, length=len(line)))
        self.size += len(line)

    def complete(self) -> BatchFile:
        """Put it in its place, then its index."""
        with naming_file(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self.close()
        os.replace(self._part, self.path)
        head = BatchFile(self.path.name, len(self.entries), self.size, self._digest.hexdigest())
        _write_index(self.path.with_name(self.path.name.replace("requests_", "index_")), head, self.entries)
        return head

    def close(self) -> None:
        self._file.close()


def _write_index(path: Path, head: BatchFile, entries: Iterable[BatchEntry]) -> None:
    write_json_lines(path, [asdict(head), *(asdict(entry) for entry in entries)])


def _indices(path: Path) -> list[Path]:
    return sorted(path.glob("index_*.jsonl"))


def _read_index(path: Path) -> tuple[BatchFile, list[BatchEntry]]:
    try:
        head, *lines = [line.value for line in read_json_lines(path, "entry", cut=True)]
        entries = [
            BatchEntry(**{**e, "hypotheses": tuple(e["hypotheses"]), "labels": tuple(e["labels"])}) for e in lines
        ]
        file = BatchFile(**head)
        if len(entries) != file.requests:
            raise ValueError(f"{counted(len(entries), 'request')}, its first line says {file.requests}")
        return file, entries
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); export into another folder") from error


def _read_manifest(path: Path) -> Manifest | None:
    """None where there is none."""
    file = path / "manifest.json"
    try:
        content = parse_json(read_limited(file, RECORD.max_bytes))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: no manifest of a batch")
    return Manifest.of_json(content, file)


def _is_left_by_a_kill(name: str) -> bool:
    return any(fnmatch(name, known) for known in _LEFT_BY_A_KILL)


def _remove_unfinished(path: Path) -> None:
    """What a kill left: parts, and a file without its index."""
    complete = {index.name.replace("index_", "requests_") for index in _indices(path)}
    parts = [
        file for place in (".requests_*", ".index_*", ".manifest.json.*", "images/*/.*") for file in path.glob(place)
    ]
    for file in [*parts, *(file for file in path.glob("requests_*.jsonl") if file.name not in complete)]:
        file.unlink()
