"""Preference groups on disk: append-only shards, an index with a line per group, scores beside them.

    folder/
      store.json                   what all groups share: model, body, source, group size; format version
      index.jsonl                  a line per group: id, shard, row, SHA-256 of its files, hashes of model and body
      groups_00000.safetensors     observations, samples x_0, bodies; the mesh is not stored
      truth_00000.safetensors      annotations, only where the source has them and they were asked for
      crops/<hash of id>.jpg       the persons in photos
      scores/<critic>/critic.json, scores_00000.safetensors
      .lock                        held by the one process that writes

A shard is written whole, then its lines are added to the index in one write. A kill in between leaves a shard without
lines, which the next run writes again: at most the shard in flight is redone. Scores are files of their own, so that
the same groups can be judged by any critic, any time, without being sampled again; scores of a shard that is written
again go with it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from hmralign.data.shards import save_whole, shard_length
from hmralign.engines.parts import FOLDER
from hmralign.storage.folder_lock import held_folder
from hmralign.storage.json_file import read_json_lines, read_record
from hmralign.storage.run_record import require_own_folder, require_same_run, short
from hmralign.storage.whole_file import naming_file, take_over_file, write_json, write_whole
from hmralign.structures import (
    Annotation,
    BodyParams,
    Example,
    Hypotheses,
    InputError,
    Landmarks3d,
    Observation,
    PreferenceGroups,
    UnwritableError,
)
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.groups")

FORMAT_VERSION = 1
_BODY = ("global_orient", "body_pose", "betas", "transl")
_NO_STRANGERS = (".lock", "run.yaml", "config.yaml", FOLDER)
"""What may lie in a folder that becomes a store, beside `.part` files that a kill left: records of the run, and what
workers have made for it."""
_PART_OF_SAFETENSORS = ".tmp??????"
"""safetensors wrote to such a file first, which a kill has left in stores of earlier versions."""
_MAX_LINE = 16384
_NOT_A_ROTATION = 1e-3
"""How far the third column of a rotation may be from the cross product of the others, which is all that is stored."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,80}\Z")


class StoreFullError(UnwritableError):
    """The disk has no room for another shard; what is there is whole."""


@dataclass(frozen=True)
class StoreFacts:
    """What all groups of a store share; another run continues a store only with the same facts."""

    checkpoint_sha256: str
    """Weights that sampled the groups; empty for predictions of other systems."""
    trained_on: tuple[str, ...]
    """What those weights were trained on."""
    skeleton_hash: str
    mesh_hash: str
    source: str
    """Where the persons come from, such as `wild/train`."""
    source_sha256: str
    group_size: int
    sampler_steps: int
    detector: str
    """Whose noise placed the bodies."""
    seed: int
    with_truth: bool = False
    shard_size: int = 64
    """Groups per shard; photos make shards of their own."""
    predicted_by: str = ""
    """System whose predictions these are; empty for our own samples."""
    retargeted: bool = False
    """Whether bodies of another skeleton were carried over."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further settings that decide the content."""
    seed_derivation: int = 1
    """`storage.seeds.DERIVATION` under which groups were sampled; 1 in stores of before it was recorded, and where
    nothing is drawn."""

    def record(self) -> dict[str, Any]:
        """As plain values; without what stores did not record, so that their hashes stay."""
        plain = asdict(self)
        if self.seed_derivation == 1:
            del plain["seed_derivation"]
        return plain


@dataclass(frozen=True)
class CriticFacts:
    """Who gave scores: enough to know whether two sets of scores mean the same."""

    name: str
    needs_truth: bool
    settings: dict[str, Any] = field(default_factory=dict)
    memory_sha256: str | None = None
    """Hash of the memory a critic judges with."""

    @property
    def sha256(self) -> str:
        """Hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A line of the index."""

    id: str
    shard: int
    row: int
    shard_sha256: str
    model_sha256: str
    skeleton_hash: str
    source: str
    crop: str | None = None
    truth_sha256: str | None = None
    """Hash of the annotations; None without them, and in stores written before there was such a hash."""


class GroupStore:
    """A store that is open; reading needs no lock, writing goes through `writing`."""

    def __init__(self, folder: Path, facts: StoreFacts, entries: list[Entry], skipped: dict[str, str]) -> None:
        self.folder, self.facts = folder, facts
        self._entries, self._skipped = entries, skipped
        self._ids = {e.id for e in entries}

    # -- reading ------------------------------------------------------------------------------------------------------

    @staticmethod
    def open(folder: str | Path) -> GroupStore:
        """Open a store to read. Raises InputError naming what is missing, newer or damaged."""
        folder = Path(folder)
        facts = _read_facts(folder)
        entries, skipped, _ = _read_index(folder / "index.jsonl")
        return GroupStore(folder, facts, entries, skipped)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of all groups, in order."""
        return tuple(e.id for e in self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Lines of the index."""
        return tuple(self._entries)

    @property
    def skipped(self) -> Mapping[str, str]:
        """Persons or photos that gave no group, and why."""
        return dict(self._skipped)

    @property
    def num_shards(self) -> int:
        """Complete shards."""
        return self._entries[-1].shard + 1 if self._entries else 0

    def in_order(self) -> Iterator[int | str]:
        """Shards by number, and what gave no group by name, in the order in which they came."""
        for _, record, _ in read_json_lines(self.folder / "index.jsonl", "entry of a store"):
            if "skipped" in record:
                yield str(record["id"])
            elif record["row"] == 0:
                yield int(record["shard"])

    def done(self) -> set[str]:
        """Ids that need no more work."""
        return self._ids | set(self._skipped)

    def content_hash(self) -> str:
        """Hash of all groups; scores do not count."""
        digest = hashlib.sha256(json.dumps(self.facts.record(), sort_keys=True).encode())
        for shard in range(self.num_shards):
            digest.update(self._of_shard(shard)[0].shard_sha256.encode())
        return digest.hexdigest()

    def shard_ids(self, shard: int) -> tuple[str, ...]:
        """Ids of one shard. Raises InputError for a number that is none."""
        return tuple(e.id for e in self._of_shard(shard))

    def read(self, shard: int, *, truth: bool = False) -> PreferenceGroups:
        """One shard; with `truth` its annotations too.

        Raises InputError where a file is missing or differs from what the index says, and where there is no truth.
        """
        ids = self.shard_ids(shard)
        first = self._of_shard(shard)[0]
        tensors = _load(self._path("groups", shard), first.shard_sha256)
        if len(tensors["box"]) != len(ids):
            raise InputError(
                f"{self._path('groups', shard)}: {counted(len(tensors['box']), 'group')}, the index names {len(ids)}"
            )
        annotation = None
        if truth:
            if not self.facts.with_truth:
                raise InputError(
                    f"{self.folder}: holds no truth; build the groups with truth from a source that has it"
                )
            annotation = _annotation(_load(self._path("truth", shard), first.truth_sha256))
        landmarks = None
        if "landmarks3d" in tensors:
            landmarks = Landmarks3d(tensors["landmarks3d"], tensors["landmarks3d_confidence"])
        return PreferenceGroups(
            ids,
            tensors.get("x_0"),
            Hypotheses(_body(tensors), tensors["joints"]),
            Example(_observation(tensors), annotation, landmarks),
            crop_windows=tensors.get("crop_windows"),
        )

    def crop(self, number: int) -> bytes | None:
        """JPEG of the person of a group, where there is one."""
        name = self._entries[number].crop
        if name is None:
            return None
        path = self.folder / "crops" / name
        if not _SAFE_NAME.match(name):
            raise InputError(f"{self.folder}: the index names '{name[:80]}' as a picture, which is no name of one")
        if not path.is_file():
            raise InputError(f"{path}: the picture of group '{self._entries[number].id}' is missing")
        return path.read_bytes()

    # -- scores -------------------------------------------------------------------------------------------------------

    def critics(self) -> tuple[str, ...]:
        """Names of the sets of scores, whether complete or not."""
        folder = self.folder / "scores"
        return tuple(sorted(p.parent.name for p in folder.glob("*/critic.json"))) if folder.is_dir() else ()

    def scores(self, critic: str) -> Float[Tensor, "group hyp"]:
        """All scores of a critic.

        Raises InputError where there are none, some are missing, or a file does not fit its groups.
        """
        folder = self.folder / "scores" / critic
        if not _SAFE_NAME.match(critic) or not (folder / "critic.json").is_file():
            there = ", ".join(self.critics()) or "none"
            raise InputError(f"{self.folder}: has no scores by '{critic}' (there are: {there})")
        self.critic_facts(critic)
        if not self._entries:
            raise InputError(f"{self.folder}: holds no groups")
        parts = []
        for shard in range(self.num_shards):
            path = folder / f"scores_{shard:05d}.safetensors"
            if not path.is_file():
                raise InputError(f"{path}: no scores of {counted(len(self.shard_ids(shard)), 'group')}; score again")
            tensors = _load(path)
            scores = tensors.get("scores")
            expected = (len(self.shard_ids(shard)), self.facts.group_size)
            if scores is None or tuple(scores.shape) != expected:
                raise InputError(f"{path}: scores do not fit their groups, expected shape {expected}")
            _require_finite(scores, self.shard_ids(shard), f"{path}: a score")
            parts.append(scores)
        return torch.cat(parts)

    def critic_facts(self, critic: str) -> dict[str, Any]:
        """What a set of scores says of its critic. Raises InputError where it is missing, newer or damaged."""
        _require_name(critic)
        return read_record(self.folder / "scores" / critic / "critic.json", "the record of a critic", FORMAT_VERSION)

    def unscored(self, critic: str) -> list[int]:
        """Shards that a critic has not judged."""
        _require_name(critic)
        folder = self.folder / "scores" / critic
        return [s for s in range(self.num_shards) if not (folder / f"scores_{s:05d}.safetensors").is_file()]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _path(self, kind: str, shard: int) -> Path:
        return self.folder / f"{kind}_{shard:05d}.safetensors"

    def _of_shard(self, shard: int) -> list[Entry]:
        if not 0 <= shard < self.num_shards:
            raise InputError(f"{self.folder}: has {counted(self.num_shards, 'shard')}, there is no shard {shard}")
        start = bisect_left(self._entries, shard, key=lambda e: e.shard)
        return self._entries[start : bisect_right(self._entries, shard, lo=start, key=lambda e: e.shard)]


class ScoreWriter(GroupStore):
    """A store whose groups stay as they are and to which scores may be added, by several processes at once."""

    def declare_critic(self, name: str, facts: CriticFacts) -> None:
        """Begin, or continue, a set of scores. Raises InputError where another critic's scores have that name."""
        _require_name(name)
        path = self.folder / "scores" / name / "critic.json"
        record = {"format_version": FORMAT_VERSION, **asdict(facts), "sha256": facts.sha256}
        if path.is_file():
            if self.critic_facts(name).get("sha256") != facts.sha256:
                raise InputError(
                    f"{path.parent}: holds scores of the same name by a critic with other settings; use another name"
                )
            return
        with _room(self.folder):
            write_json(path, record)

    def write_scores(self, name: str, shard: int, scores: Float[Tensor, "group hyp"]) -> None:
        """Scores of one shard, whole.

        Raises InputError naming the group whose score is not finite, for scores of another shape, and for a critic that
        was not declared.
        """
        self.critic_facts(name)
        expected = (len(self.shard_ids(shard)), self.facts.group_size)
        if tuple(scores.shape) != expected:
            raise InputError(f"critic '{name}': scores have shape {tuple(scores.shape)}, expected {expected}")
        _require_finite(scores, self.shard_ids(shard), f"critic '{name}': a score")
        with _room(self.folder):
            path = self.folder / "scores" / name / f"scores_{shard:05d}.safetensors"
            save_whole({"scores": scores.detach().float().cpu().contiguous()}, path)


class GroupWriter(ScoreWriter):
    """A store that this process alone may add to."""

    def append(self, groups: PreferenceGroups) -> None:
        """Add one shard.

        Raises InputError for an id that is there already, groups of another size, missing truth, values that are not
        finite or matrices that are no rotations; StoreFullError where the disk is full, leaving everything whole.
        """
        tensors = _tensors(groups)
        truth = _truth_tensors(groups) if self.facts.with_truth else None
        self._check(groups, [*tensors.items(), *(truth or {}).items()])
        shard, facts = self.num_shards, self.facts
        with _room(self.folder):
            truth_sha256 = None if truth is None else _saved(truth, self._path("truth", shard))
            crops = self._write_crops(groups)
            sha256 = _saved(tensors, self._path("groups", shard))
            shared = facts.checkpoint_sha256, facts.skeleton_hash, facts.source
            self._enter(
                [
                    Entry(id_, shard, row, sha256, *shared, crop, truth_sha256)
                    for row, (id_, crop) in enumerate(zip(groups.ids, crops, strict=True))
                ]
            )

    def take_over(self, part: GroupStore, done: Set[str] = frozenset()) -> None:
        """Add all of another store of the same facts but for those done: its bytes under the next numbers, its scores.

        Its lines are added in one write. Scores that cannot be read, or by a critic who has other settings here, are
        left out, to be given again. Raises InputError for an id that is there already and for files that differ from
        what the part's index says.
        """
        entries: list[Entry] = []
        skipped: dict[str, str] = {}
        lines: list[dict[str, Any]] = []
        numbers: dict[int, int] = {}
        with _room(self.folder):
            for item in part.in_order():
                if isinstance(item, str):
                    if item not in done:
                        self._check_id(item)
                        skipped[item] = part.skipped[item]
                        lines.append({"id": item, "skipped": skipped[item]})
                elif part.shard_ids(item)[0] not in done:
                    numbers[item] = self.num_shards + len(numbers)
                    new = self._take_over_files(part, item, numbers[item])
                    entries += new
                    lines += [asdict(e) for e in new]
            self._enter(entries, lines)
        self._skipped |= skipped
        for critic in part.critics():
            for shard, number in numbers.items():
                self._take_over_scores(part, critic, shard, number)

    def _take_over_files(self, part: GroupStore, shard: int, number: int) -> list[Entry]:
        old = part._of_shard(shard)
        for entry in old:
            self._check_id(entry.id)
        kinds = [("groups", old[0].shard_sha256), *([("truth", old[0].truth_sha256)] if self.facts.with_truth else [])]
        for kind, sha256 in reversed(kinds):  # as `append` does
            _checked_bytes(part._path(kind, shard), sha256)
            take_over_file(part._path(kind, shard), self._path(kind, number))
        for place, entry in enumerate(old, start=part._entries.index(old[0])):
            if part.crop(place) is not None:  # raises for one that is missing
                take_over_file(part.folder / "crops" / str(entry.crop), self.folder / "crops" / str(entry.crop))
        return [replace(entry, shard=number) for entry in old]

    def _take_over_scores(self, part: GroupStore, critic: str, shard: int, new: int) -> None:
        try:
            record = part.critic_facts(critic)
            if critic in self.critics() and self.critic_facts(critic).get("sha256") != record.get("sha256"):
                return
            facts = CriticFacts(**{f.name: record[f.name] for f in fields(CriticFacts)})
            scores = _load(part.folder / "scores" / critic / f"scores_{shard:05d}.safetensors")["scores"]
            self.declare_critic(critic, facts)
            self.write_scores(critic, new, scores)
        except (InputError, KeyError) as error:
            logger.warning("%s: its scores by %s are given anew (%s)", part.folder, critic, error)

    def _enter(self, new: list[Entry], lines: list[dict[str, Any]] | None = None) -> None:
        """The lines of shards whose files are there; those of others may stand among them."""
        for shard in dict.fromkeys(e.shard for e in new):
            for stale in self.folder.glob(f"scores/*/scores_{shard:05d}.safetensors"):
                stale.unlink()  # of a shard whose lines were lost
        _append_lines(self.folder / "index.jsonl", [asdict(e) for e in new] if lines is None else lines)
        self._entries.extend(new)
        self._ids.update(e.id for e in new)

    def skip(self, id_: str, reason: str) -> None:
        """Remember that a person or photo gives no group. Raises InputError for an id that is there already."""
        self._check_id(id_)
        with _room(self.folder):
            _append_lines(self.folder / "index.jsonl", [{"id": id_, "skipped": reason[:500]}])
        self._skipped[id_] = reason[:500]

    def _check_id(self, id_: str) -> None:
        if id_ in self._ids or id_ in self._skipped:
            raise InputError(f"{self.folder}: group '{id_}' is there already")
        if not id_ or len(id_) > 500 or "\n" in id_:
            raise InputError(f"'{id_[:80]}' is no name for a group")

    def _check(self, groups: PreferenceGroups, arrays: list[tuple[str, Tensor]]) -> None:
        if not groups.ids:
            raise InputError("there are no groups to add; expected at least one")
        for id_ in groups.ids:
            self._check_id(id_)
        if len(set(groups.ids)) != len(groups.ids):
            twice = Counter(groups.ids).most_common(1)[0][0]
            raise InputError(f"two groups of one shard have the same name, '{twice[:80]}'")
        size = groups.hypotheses.num_hypotheses
        if size != self.facts.group_size or size < 2:
            raise InputError(
                f"groups have {counted(size, 'hypothesis')}, the store's have {self.facts.group_size} (at least 2)"
            )
        for name, values in arrays:
            if values.is_floating_point():
                _require_finite(values.flatten(1), groups.ids, f"an array ('{name}')")
        rotmats = groups.hypotheses.body.rotmats
        third = torch.linalg.cross(rotmats[..., 0], rotmats[..., 1])
        wrong = ~((third - rotmats[..., 2]).abs() <= _NOT_A_ROTATION)  # NaN is wrong too
        if bool(wrong.any()):
            bad = groups.ids[int(wrong.flatten(1).any(1).nonzero()[0])]
            raise InputError(f"group '{bad}' has a matrix that is no rotation; expected orthonormal, determinant 1")

    def _write_crops(self, groups: PreferenceGroups) -> list[str | None]:
        if groups.crops is None:
            return [None] * len(groups)
        names: list[str | None] = []
        for id_, content in zip(groups.ids, groups.crops, strict=True):
            if content is None:
                names.append(None)
                continue
            name = f"{hashlib.sha256(os.fsencode(id_)).hexdigest()[:24]}.jpg"
            write_whole(self.folder / "crops" / name, content)
            names.append(name)
        return names


def require_store_folder(folder: Path) -> None:
    """Raise InputError for a folder that holds other things, and is neither a store nor to become one."""
    require_own_folder(folder, "store.json", "no store of groups", _NO_STRANGERS)


def scores_beside(folder: str | Path) -> ScoreWriter:
    """Open a store to add scores while others do, each to shards of its own: every shard's scores are a file.

    Nothing is held, and nothing that a killed process left is removed. Raises InputError as `GroupStore.open`.
    """
    store = GroupStore.open(folder)
    return ScoreWriter(store.folder, store.facts, store._entries, store._skipped)


@contextmanager
def writing(folder: str | Path, facts: StoreFacts | None = None) -> Iterator[GroupWriter]:
    """Open a store to write, making it where `facts` are given and it is not there; repairs what a kill left.

    Raises InputError where another process writes, where the store's facts differ from the given ones (naming the
    first), and as `GroupStore.open`.
    """
    folder = Path(folder)
    if facts is None and not (folder / "store.json").is_file():
        _read_facts(folder)  # says what is wrong
    # Before anything is written, a lock included.
    require_store_folder(folder)
    with held_folder(folder, "writing to this store"):
        yield _opened(folder, facts)


def _opened(folder: Path, facts: StoreFacts | None) -> GroupWriter:
    if not (folder / "store.json").is_file():
        assert facts is not None
        if facts.group_size < 2:
            raise InputError(f"group size is {facts.group_size}; a preference needs at least 2 hypotheses")
        require_store_folder(folder)
        with _room(folder):
            record = {"format_version": FORMAT_VERSION, **facts.record()}
            write_json(folder / "store.json", record)
    there = _read_facts(folder)
    if facts is not None:
        if there.seed_derivation != facts.seed_derivation:
            raise InputError(
                f"{folder}: its groups were drawn under seed derivation {there.seed_derivation}, this program draws "
                f"under {facts.seed_derivation}; finish it with the version that began it, or use another folder"
            )
        require_same_run(folder, asdict(there), asdict(facts), what="its groups were")
    index = folder / "index.jsonl"
    entries, skipped, whole = _read_index(index)
    if index.is_file() and whole < index.stat().st_size:
        with index.open("r+b") as handle:  # lines of a shard that was being written when the run was killed
            handle.truncate(whole)
    _remove_unfinished(folder)
    return GroupWriter(folder, there, entries, skipped)


def _remove_unfinished(folder: Path) -> None:
    """Files that were being written here; not the drafts of workers."""
    for place in ("", "crops/", "scores/*/"):
        for part in [*folder.glob(f"{place}*.part"), *folder.glob(f"{place}{_PART_OF_SAFETENSORS}")]:
            part.unlink(missing_ok=True)


def _read_facts(folder: Path) -> StoreFacts:
    path = folder / "store.json"
    if not path.is_file():
        raise InputError(f"{folder}: no store.json, so this is no store of preference groups")
    record = read_record(path, "the record of a store", FORMAT_VERSION)
    del record["format_version"]
    try:
        facts = StoreFacts(**{**record, "trained_on": tuple(record["trained_on"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a store ({error})") from error
    if type(facts.group_size) is not int or facts.group_size < 2:
        raise InputError(f"{path}: group size {facts.group_size!r}; expected a whole number of at least 2")
    return facts


def _read_index(path: Path) -> tuple[list[Entry], dict[str, str], int]:
    """Entries, skipped ids and the number of bytes that are whole.

    What a kill leaves at the end (half a line, some lines of a shard) does not count; anything else that is wrong
    raises InputError with the line's number.
    """
    if not path.is_file():
        return [], {}, 0
    entries: list[Entry] = []
    skipped: dict[str, str] = {}
    whole = start_of_shard = skipped_before = 0
    for number, record, end in read_json_lines(path, "entry of a store", cut=True):
        try:
            if "skipped" in record:
                skipped[str(record["id"])] = str(record["skipped"])
            else:
                entries.append(_entry(record, entries[-1] if entries else None))
                if entries[-1].row == 0:
                    start_of_shard, skipped_before = whole, len(skipped)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: line {number} is damaged ({error})") from error
        whole = end
    if entries:
        last = entries[-1].shard
        rows = _rows(path.parent / f"groups_{last:05d}.safetensors")
        if rows is not None and rows > entries[-1].row + 1:
            kept = dict(list(skipped.items())[:skipped_before])
            return [e for e in entries if e.shard != last], kept, start_of_shard
    return entries, skipped, whole


def _entry(record: dict[str, Any], before: Entry | None) -> Entry:
    """The next line. Raises ValueError, KeyError or TypeError for one that is damaged or does not follow."""
    entry = Entry(**{f.name: record[f.name] for f in fields(Entry) if f.name != "truth_sha256"})
    entry = replace(entry, truth_sha256=record.get("truth_sha256"))
    for name, value in vars(entry).items():
        kinds = {"shard": (int,), "row": (int,), "crop": (str, type(None)), "truth_sha256": (str, type(None))}
        if type(value) not in kinds.get(name, (str,)):
            raise TypeError(f"{name} is {short(value)}")
    follows = [(0, 0)] if before is None else [(before.shard, before.row + 1), (before.shard + 1, 0)]
    if (entry.shard, entry.row) not in follows:
        raise ValueError(f"group '{entry.id}' is shard {entry.shard}, row {entry.row}; a line before it is missing")
    if before is not None and entry.row > 0 and entry.shard_sha256 != before.shard_sha256:
        raise ValueError(f"group '{entry.id}' is of another shard than the line before it")
    return entry


def _rows(path: Path) -> int | None:
    try:
        return shard_length(path)
    except InputError:
        return None  # `read` says what is wrong with it


def _append_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """All lines in one write, on disk before this returns. Raises OSError that names the file."""
    lines = [json.dumps(record) for record in records]  # as ASCII: names of files need not be valid text
    if any(len(line) > _MAX_LINE for line in lines):
        raise InputError("a line of the index is too long; shorten the names of the photos")
    before = path.stat().st_size if path.is_file() else 0
    with naming_file(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            content = "".join(f"{line}\n" for line in lines).encode()
            written = os.write(handle, content)
            if written != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, before)
            raise
        finally:
            os.close(handle)


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """A disk that is full becomes one clear sentence; half a file never gets its name."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        _remove_unfinished(folder)
        raise StoreFullError(
            f"{folder}: could not be written ({error}); what was there is whole, run it again"
        ) from error


def _load(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    content = _checked_bytes(path, sha256)
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error})") from error


def _checked_bytes(path: Path, sha256: str | None) -> bytes:
    """Raises InputError for a file that is missing, or has another hash."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: missing or cannot be read ({error})") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: differs from what the index says of it; it was changed or cut off")
    return content


def _saved(tensors: dict[str, Tensor], path: Path) -> str:
    """SHA-256 of the file, which is on disk before this returns: the index may not speak of less."""
    save_whole(tensors, path)
    content = path.read_bytes()
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return hashlib.sha256(content).hexdigest()


def _require_name(critic: str) -> None:
    if not _SAFE_NAME.match(critic):
        raise InputError(f"'{critic[:100]}' is no name for scores; use letters, digits and . _ = -")


def _require_finite(values: Float[Tensor, "group any"], ids: Sequence[str], what: str) -> None:
    bad = (~torch.isfinite(values)).any(-1)
    if bool(bad.any()):
        raise InputError(f"{what} of group '{ids[int(bad.nonzero()[0])]}' is not finite")


def _tensors(groups: PreferenceGroups) -> dict[str, Tensor]:
    observation = groups.example.observation
    tensors = observation.tensors()
    tensors["mask"] = (observation.mask * 255).round().to(torch.uint8)
    params = groups.hypotheses.body
    tensors |= {
        "rotmat_columns": params.rotmats[..., :2],
        "betas": params.betas,
        "transl": params.transl,
        "joints": groups.hypotheses.joints,
    }
    if groups.x_0 is not None:
        tensors["x_0"] = groups.x_0
    if groups.crop_windows is not None:
        tensors["crop_windows"] = groups.crop_windows
    if groups.example.landmarks3d is not None:
        tensors["landmarks3d"] = groups.example.landmarks3d.points
        tensors["landmarks3d_confidence"] = groups.example.landmarks3d.confidence
    return _own(tensors)


def _truth_tensors(groups: PreferenceGroups) -> dict[str, Tensor]:
    truth = groups.example.annotation
    if truth is None:
        raise InputError("the store keeps truth, but these groups have none")
    return _own({**truth.body.tensors(), "joints": truth.joints})


def _own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies: safetensors refuses arrays that share memory, such as a confidence that stands in two places."""
    return {n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in tensors.items()}


_OPTIONAL = ("crop", "has_crop")
"""Fields of an observation that a store may lack."""


def _observation(tensors: dict[str, Tensor]) -> Observation:
    values = {f.name: tensors[f.name] for f in fields(Observation) if f.name in tensors or f.name not in _OPTIONAL}
    values["mask"] = values["mask"].float() / 255
    return Observation(**values)


def _body(tensors: dict[str, Tensor]) -> BodyParams:
    first, second = tensors["rotmat_columns"].unbind(-1)
    rotmats = torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)
    return BodyParams(rotmats[..., 0, :, :], rotmats[..., 1:, :, :], tensors["betas"], tensors["transl"])


def _annotation(tensors: dict[str, Tensor]) -> Annotation:
    return Annotation(BodyParams(*(tensors[name] for name in _BODY)), tensors["joints"])
