"""Published snapshots as our own checkpoints: which tensor is which, and a report of every entry.

A file is held to its layout before a tensor of it is read. The weights that people evaluate are running averages, which
are stored without names: they are taken in the order of the layout's parameters, and buffers from the raw model beside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hmralign.models.checkpoint import write_weights
from hmralign.models.published.layouts import KINDS, Kind, Layout, Part, Slot, published_layout
from hmralign.models.published.snapshot import Snapshot, StoredTensor, inspected
from hmralign.storage.whole_file import write_json
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

FORMAT_VERSION = 1
"""The report's."""
CHECKPOINT_VERSION = 1

Weights = Literal["ema", "raw"]
"""Running averages of the weights, or the weights as they were when the file was written."""

DEFAULT_WEIGHTS: Mapping[Kind, Weights] = {"hyponet": "ema", "scorenet": "ema", "hmr-scorer": "raw"}
"""What the published codes evaluate with; what HMR-Scorer's average is over is not said anywhere."""

_AVERAGES = "shadow_params"
_PREFIX = "module."
_SHOWN = 5
"""So many names of each sort of difference are said."""


@dataclass(frozen=True)
class ConversionReport:
    """What became of each entry of a snapshot."""

    kind: Kind
    file: str
    sha256: str
    weights: Weights
    checkpoint: str
    renamed: Mapping[str, str]
    """Name in the file -> name in the checkpoint, for every tensor that was taken."""
    averaged: tuple[str, ...]
    """Names in the checkpoint whose values are running averages."""
    unused: Mapping[str, str]
    """Entries that were not taken, and why."""

    def record(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"format_version": FORMAT_VERSION, **asdict(self), "averaged": list(self.averaged)}

    def lines(self) -> list[str]:
        """For people."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.unused.items():
            reasons.setdefault(why, []).append(f"'{shown(name)}'")
        return [
            f"{counted(len(self.renamed), 'tensor')} used and renamed, as {_some(self._renames())}",
            *(f"not used, {why}: {_some(names)}" for why, names in reasons.items()),
        ]

    def _renames(self) -> list[str]:
        return [f"'{shown(theirs)}' -> '{ours}'" for theirs, ours in self.renamed.items()]


def convert_snapshot(
    path: str | Path,
    out: str | Path,
    kind: Kind,
    *,
    skeleton_hash: str,
    weights: Weights | None = None,
    layout: Layout | None = None,
) -> ConversionReport:
    """Write the weights of a published snapshot as a checkpoint at `out`, and the report beside it as `.json`.

    `skeleton_hash` is that of the body whose joints the model knows, `weights` which of the weights (default: those
    that the published code evaluates), `layout` that of another size than the published one.

    Raises InputError, naming the file, as `inspected`, for a layout that differs (saying what is missing, surplus, or
    of another shape), for weights that are not finite, and for an output that is no .safetensors file.
    """
    path, out = Path(path), Path(out)
    layout = published_layout(kind) if layout is None else layout
    weights = DEFAULT_WEIGHTS[kind] if weights is None else weights
    if out.suffix != ".safetensors":
        raise InputError(f"'{out}' is no name of a checkpoint, expected one that ends in .safetensors")
    snapshot = inspected(path)
    require_layout(snapshot, layout, weights)
    found = snapshot.loaded()
    state, renamed, averaged = {}, {}, []
    for part in layout.parts:
        for name, slot, tensor, is_average in _taken(found, part, weights):
            _require_sound(path, name, slot, tensor)
            ours = part.ours + slot.name
            state[ours], renamed[name] = tensor, ours
            averaged += [ours] * is_average
    sha256 = _sha256(path)
    report = ConversionReport(
        kind, path.name, sha256, weights, str(out), renamed, tuple(averaged), _unused(snapshot, layout, weights)
    )
    header = {
        "format_version": str(CHECKPOINT_VERSION),
        "kind": kind,
        "config": layout.config,
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps([f"published:{sha256}"]),
    }
    write_weights(out, state, header, half=False)
    write_json(out.with_suffix(".json"), report.record())
    return report


def require_layout(snapshot: Snapshot, layout: Layout, weights: Weights) -> None:
    """Raise InputError, naming what differs, unless a file holds just the tensors of a layout."""
    for part in layout.parts:
        if not isinstance(snapshot.content.get(part.key), dict):
            _refuse_kind(snapshot, layout, part)
    differences = [line for part in layout.parts for line in _differences(snapshot, part, weights)]
    if differences:
        raise InputError(f"{snapshot.path}: is no {layout.kind} of the published layout: {'; '.join(differences)}")


def _refuse_kind(snapshot: Snapshot, layout: Layout, part: Part) -> None:
    """Say whose file it is, where that is known."""
    for kind in KINDS:
        if kind != layout.kind and all(p.key in snapshot.content for p in published_layout(kind).parts):
            raise InputError(f"{snapshot.path}: holds a {kind}, expected a {layout.kind} (`hmralign convert {kind}`)")
    there = ", ".join(f"'{shown(name, 40)}'" for name in list(snapshot.content)[:10]) or "nothing"
    raise InputError(f"{snapshot.path}: lacks '{part.key}' of a {layout.kind}; it holds {there}")


def _differences(snapshot: Snapshot, part: Part, weights: Weights) -> Iterator[str]:
    """What a part has else than its layout, in words."""
    found = _without_prefix(snapshot.content[part.key])
    expected = {slot.name: slot for slot in part.slots}
    missing = [f"'{name}'" for name in expected if name not in found]
    surplus = [f"'{shown(name)}'" for name in found if name not in expected]
    wrong = [
        f"'{name}' ({said})"
        for name, slot in expected.items()
        if name in found and (said := _mismatch(found[name], slot))
    ]
    for what, names in (("lacks", missing), ("has besides", surplus), ("has otherwise", wrong)):
        if names:
            yield f"'{part.key}' {what} {_some(names)}"
    if weights == "ema":
        yield from _average_differences(snapshot, part)


def _average_differences(snapshot: Snapshot, part: Part) -> Iterator[str]:
    averages = _averages(snapshot.content, part)
    if averages is None:
        yield f"'{part.ema}' has no list '{_AVERAGES}' of running averages (--weights raw takes the others)"
        return
    slots = part.averaged
    if len(averages) != len(slots):
        yield f"'{part.ema}' has {counted(len(averages), 'running average')}, expected {len(slots)}, one a weight"
        return
    pairs = enumerate(zip(averages, slots, strict=True))
    wrong = [f"number {n}, '{slot.name}' ({said})" for n, (a, slot) in pairs if (said := _mismatch(a, slot))]
    if wrong:
        yield f"'{part.ema}' has otherwise {_some(wrong)}"


def _mismatch(found: object, slot: Slot) -> str:
    """How an entry differs from its slot; empty where it does not."""
    expected = StoredTensor(slot.dtype, slot.shape)
    if not isinstance(found, StoredTensor):
        return f"a {type(found).__name__}, expected a tensor"
    said = [f"{str(t.dtype).removeprefix('torch.')} of shape {t.shape}" for t in (found, expected)]
    return "" if found == expected else f"{said[0]}, expected {said[1]}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _without_prefix(part: Mapping[str, Any]) -> dict[str, Any]:
    """Names without `module.`, which all have where several devices trained them."""
    return {name: part[theirs] for name, theirs in _names(part).items()}


def _names(part: Mapping[str, Any]) -> dict[str, str]:
    """Name without prefix -> name in the file."""
    names = [str(name) for name in part]
    has_prefix = all(name.startswith(_PREFIX) for name in names)
    return {name.removeprefix(_PREFIX) if has_prefix else name: name for name in names}


def _averages(content: Mapping[str, Any], part: Part) -> list[Any] | None:
    entry = content.get(part.ema)
    found = entry.get(_AVERAGES) if isinstance(entry, dict) else None
    return list(found) if isinstance(found, list | tuple) else None


def _taken(found: Mapping[str, Any], part: Part, weights: Weights) -> Iterator[tuple[str, Slot, Any, bool]]:
    """(name in the file, slot, tensor, whether it is a running average) of a part that fits its layout."""
    entries, theirs = found[part.key], _names(found[part.key])
    averages = _averages(found, part) if weights == "ema" else None
    numbers = {} if averages is None else {slot.name: n for n, slot in enumerate(part.averaged)}
    for slot in part.slots:
        number = numbers.get(slot.name)
        if averages is None or number is None:
            yield f"{part.key}.{theirs[slot.name]}", slot, entries[theirs[slot.name]], False
        else:
            yield f"{part.ema}.{_AVERAGES}[{number}]", slot, averages[number], True


def _require_sound(path: Path, name: str, slot: Slot, tensor: Any) -> None:
    """Raise InputError for a tensor that is not the one that was looked at, and for values that are not finite."""
    seen = StoredTensor(tensor.dtype, tuple(tensor.shape)) if isinstance(tensor, Tensor) else None
    if said := _mismatch(seen, slot):
        raise InputError(f"{path}: '{name}' is not what it was when it was looked at ({said})")
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{path}: weight '{name}' holds values that are not finite")


def _unused(snapshot: Snapshot, layout: Layout, weights: Weights) -> dict[str, str]:
    """Entries that were not taken, and why."""
    taken = {part.key for part in layout.parts} | ({part.ema for part in layout.parts} if weights == "ema" else set())
    known = {**layout.unused, **{part.ema: "running averages" for part in layout.parts}}
    unused = {name: known.get(name, "not known") for name in snapshot.content if name not in taken}
    if weights == "ema":
        for part in layout.parts:
            settings = [name for name in dict(snapshot.content[part.ema]) if name != _AVERAGES]
            unused |= {f"{part.ema}.{name}": "setting of the average" for name in settings}
            averaged = {slot.name for slot in part.averaged}
            theirs = {ours: name for ours, name in _names(snapshot.content[part.key]).items() if ours in averaged}
            unused |= {f"{part.key}.{name}": "replaced by its running average" for name in theirs.values()}
    return unused


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**22):
            digest.update(part)
    return digest.hexdigest()
