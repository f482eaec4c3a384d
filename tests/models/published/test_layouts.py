"""What is in which entry of a published file; the tensors themselves are held to it in `tests/models/paper`."""

import json
import os
from pathlib import Path

import pytest

from hmralign.models.published.layouts import KINDS, published_layout
from support.shared_data import shared_data

TABLES = {"hyponet": "hyponet", "scorenet": "scorenet", "hmr-scorer": "hmrscorer"}


def table(kind: str) -> dict:
    """Entries and tensors of a published file, where they are at hand."""
    override, shared = os.environ.get("HMRALIGN_LAYOUTS"), shared_data()
    folder = Path(override) if override else (shared.parent / "facts/layouts" if shared else Path("nowhere"))
    path = folder / f"layout_{TABLES[kind]}_file.json"
    if not path.is_file():
        pytest.skip(f"optional layout of published weights '{path.name}' is not here (set HMRALIGN_LAYOUTS)")
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_entries_and_tensors_are_those_of_the_published_files(kind):
    published, layout = table(kind), published_layout(kind)
    assert [part.key for part in layout.parts] == published["tensor_parts"]
    assert {part.ema: part.key for part in layout.parts}.items() >= published["ema_of"].items()
    assert {part.ema for part in layout.parts} | set(layout.unused) == set(published["other_top_level"])
    for part in layout.parts:
        rows = published["parts"][part.key]
        prefix = "module." if kind == "hmr-scorer" else ""
        kinds = [(f"torch.{row[2]}", row[3] == "parameter") for row in rows]
        assert [(prefix + slot.name, list(slot.shape)) for slot in part.slots] == [(row[0], row[1]) for row in rows]
        assert [(str(slot.dtype), slot.is_parameter) for slot in part.slots] == kinds
        if kind != "hmr-scorer":
            order = {row[4]: row[0] for row in rows if row[4] is not None}
            assert [slot.name for slot in part.averaged] == [order[n] for n in range(len(order))]


@pytest.mark.parametrize(
    ("kind", "tensors", "averaged"),
    [("hyponet", (124, 1963), (124, 987)), ("scorenet", (122, 1960), (122, 985)), ("hmr-scorer", (282,), (129,))],
)
def test_the_numbers_are_those_that_were_counted(kind, tensors, averaged):
    parts = published_layout(kind).parts
    assert tuple(len(part.slots) for part in parts) == tensors
    assert tuple(len(part.averaged) for part in parts) == averaged
