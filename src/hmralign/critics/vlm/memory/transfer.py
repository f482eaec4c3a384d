"""A memory as a folder that people and other programs can read, and back.

    folder/
      memory.json                format version, content hash, whether pictures are with it
      <table>.jsonl              one line per row, lists as lists
      embeddings.safetensors     float32, rows in the order of `prototype.jsonl`; a case without one has no row
      tiles/<sha256>.jpg         pictures, only where they are exported

The folder is complete or absent, and so is what is imported: it goes into a new file whose content hash has to be that
of the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hmralign.critics.vlm.memory.checking import check_content
from hmralign.critics.vlm.memory.content import FROZEN, PICTURES
from hmralign.critics.vlm.memory.records import rule_id
from hmralign.critics.vlm.memory.store import Memory, new_memory
from hmralign.critics.vlm.memory.tables import FACT, FORMAT_VERSION, PROTOTYPE, RULE, TABLES, TILE, Table, naming
from hmralign.storage.json_file import HEADER, read_json, read_json_lines
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.critique import HIGHEST_SCORE

_FACTS, _EMBEDDINGS, _TILES = "memory.json", "embeddings.safetensors", "tiles"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def export_memory(memory: Memory, folder: str | Path, *, images: bool = True) -> str:
    """Write a folder that does not exist yet; gives the content hash of what is in it.

    Raises InputError where there is something at `folder` already.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder} exists already; expected a new folder for the export")
    with finished_folder(folder) as part:
        # One transaction: an episode that is committed meanwhile is in all files or in none.
        memory.connection.execute("BEGIN")
        try:
            for table in TABLES:
                _write_table(memory, table, part, images)
            content = memory.content_hash(images)
        finally:
            memory.connection.execute("ROLLBACK")
        facts = {"format_version": FORMAT_VERSION, "images": images, "content_hash": content}
        (part / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return content


def import_memory(folder: str | Path, path: str | Path) -> str:
    """Make a memory file of an exported folder; gives its content hash.

    Raises InputError for a folder that is damaged, newer or not what its hash says, and where `path` exists.
    """
    folder, path = Path(folder), Path(path)
    facts = _read_facts(folder)
    if path.exists():
        raise InputError(f"{path} exists already; expected a new file for the imported memory")
    with new_memory(path) as memory:
        with naming(folder):
            _read_tables(memory, folder)
        check_content(memory.connection, folder)
        content = memory.content_hash()
        if content != facts["content_hash"]:
            raise InputError(
                f"{folder} has been changed since it was exported: its content hash is {content[:12]}, expected "
                f"{str(facts['content_hash'])[:12]}"
            )
    return content


def _write_table(memory: Memory, table: Table, part: Path, images: bool) -> None:
    with naming(memory.path):
        rows = [row for row in table.rows(memory.connection) if not (table is FACT and row["name"] == FROZEN)]
    if table is TILE:
        if not images:
            return
        (part / _TILES).mkdir()
        for row in rows:
            (part / _TILES / f"{row['sha256']}.jpg").write_bytes(row["data"])
        return
    if table is PROTOTYPE:
        _write_embeddings(rows, part)
        for row in rows:
            row["embedding"] = row["embedding"] is not None
            row |= {} if images else dict.fromkeys(PICTURES)
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    (part / f"{table.name}.jsonl").write_text(lines, encoding="utf-8")


def _write_embeddings(rows: list[dict[str, Any]], part: Path) -> None:
    vectors = [np.frombuffer(row["embedding"], "<f4") for row in rows if row["embedding"] is not None]
    matrix = np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)
    (part / _EMBEDDINGS).write_bytes(save({"embeddings": np.ascontiguousarray(matrix, np.float32)}))


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = read_json(folder / _FACTS, "the facts of an exported memory", HEADER)
    except InputError as error:
        raise InputError(f"{folder} has no readable {_FACTS}; expected an exported memory") from error
    version = facts.get("format_version") if isinstance(facts, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(f"{folder} is an export of version {version}; this program reads {FORMAT_VERSION}")
    return facts


def _read_tables(memory: Memory, folder: Path) -> None:
    memory.connection.execute("BEGIN IMMEDIATE")
    try:
        for table in TABLES:
            rows = _read_tiles(folder) if table is TILE else _read_rows(table, folder)
            if table is PROTOTYPE:
                _place_embeddings(rows, folder)
            for row in rows:
                table.insert(memory.connection, row)
        memory.connection.execute("COMMIT")
    except BaseException:
        if memory.connection.in_transaction:
            memory.connection.execute("ROLLBACK")
        raise


def _read_rows(table: Table, folder: Path) -> list[dict[str, Any]]:
    name, rows = f"{table.name}.jsonl", []
    for number, row, _ in read_json_lines(folder / name, f"row of the table {table.name}"):
        columns = {c.name: c for c in table.columns}
        if not isinstance(row, dict) or row.keys() != columns.keys():
            raise InputError(f"{folder / name}, line {number}: expected an object with {', '.join(columns)}")
        for key, value in row.items():
            fits = isinstance(value, bool) if key == "embedding" else columns[key].fits(value)
            if not fits:
                raise InputError(f"{folder / name}, line {number}: '{key}' is {str(value)[:40]!r}, expected "
                                 f"{columns[key].kind}")  # fmt: skip
        if table is RULE and row["id"] != rule_id(row["text"]):
            raise InputError(f"{folder / name}, line {number}: the id is not that of the rule's text")
        if table is PROTOTYPE and not 0 <= row["score"] <= HIGHEST_SCORE:
            raise InputError(f"{folder / name}, line {number}: the score is {row['score']}, expected 0 to 100")
        rows.append(row)
    return rows


def _place_embeddings(rows: list[dict[str, Any]], folder: Path) -> None:
    try:
        matrix = load((folder / _EMBEDDINGS).read_bytes())["embeddings"]
    except (SafetensorError, KeyError) as error:
        raise InputError(f"{folder / _EMBEDDINGS} is damaged: {error}") from error
    if matrix.ndim != 2 or matrix.dtype != np.float32:
        raise InputError(f"{folder / _EMBEDDINGS} has {matrix.dtype} {matrix.shape}, expected float32 (cases, numbers)")
    own = [row for row in rows if row["embedding"]]
    if len(own) != len(matrix):
        raise InputError(f"{folder / _EMBEDDINGS} has {counted(len(matrix), 'row')}, expected {len(own)}")
    vectors = iter(np.asarray(matrix, "<f4"))
    for row in rows:
        row["embedding"] = next(vectors).tobytes() if row["embedding"] else None


def _read_tiles(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for file in sorted((folder / _TILES).glob("*.jpg")):
        data = file.read_bytes()
        if not _SHA256.match(file.stem) or hashlib.sha256(data).hexdigest() != file.stem:
            raise InputError(f"{file} is not the picture that its name says")
        rows.append({"sha256": file.stem, "data": data})
    return rows
