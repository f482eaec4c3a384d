"""Parquet files of scored groups, for other programs: needs pyarrow (extra `[export]`).

Columns of pairs are named as in TRL's preference format (`prompt`, `chosen`, `rejected`, `score_chosen`,
`score_rejected`), with numbers in place of texts:

    body vector (85)   24 parent-relative rotations as axis-angle (72, radians, SMPL's joint order, the root first),
                       betas (10), transl (3, metres, frame `cam`), of the body with the row's hashes
    x_0 (D)            what the policy sampled, in its own coding; absent for predictions of other systems
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.preferences.pairs import matched_pairs
from hmralign.preferences.store import GroupStore
from hmralign.storage.whole_file import whole_file
from hmralign.structures import BodyParams, InputError, PreferenceGroups

FORMAT_VERSION = 1

Layout = Literal["pairs", "groups"]
"""A row per pair, or a row per group."""

BODY_DIM = 85
"""Numbers of a body vector."""


def export_parquet(
    store: GroupStore, path: Path, critics: Sequence[str], layout: Layout = "pairs", k: int | None = None
) -> int:
    """Write the groups as each of the critics has scored them; returns the number of rows.

    `k` (pairs only) is how many of the best of each group are chosen, each against its counterpart among the worst;
    the default is a quarter of the group. Shard by shard, whole or not at all. Raises InputError where pyarrow is not
    installed, for k outside of 1 to G / 2, a critic without scores, and a path that does not end in .parquet.
    """
    if layout not in get_args(Layout):
        raise InputError(f"layout is {layout!r}; expected one of {', '.join(get_args(Layout))}")
    if path.suffix != ".parquet":
        raise InputError(f"{path}: expected a file name that ends in .parquet")
    if not critics:
        raise InputError("no critic is named, and without scores there is no preference to export")
    arrow, parquet = require_pyarrow()
    k = max(1, store.facts.group_size // 4) if k is None else k
    scores = {critic: store.scores(critic) for critic in critics}
    tables = (_table(arrow, columns, store, critics, layout) for columns in _shards(store, scores, layout, k))
    first = next(tables)  # there is one: `store.scores` refuses a store without groups
    rows = 0
    with whole_file(path) as part:
        with parquet.ParquetWriter(part, first.schema, compression="zstd") as writer:
            for table in chain([first], tables):
                writer.write_table(table)
                rows += table.num_rows
    return rows


def body_vectors(body: BodyParams) -> Float[Tensor, "*batch 85"]:
    """Rotations as axis-angle (radians), betas, transl (metres), one after the other."""
    return torch.cat([rotmat_to_rotvec(body.rotmats).flatten(-2), body.betas, body.transl], dim=-1)


def _shards(
    store: GroupStore, scores: dict[str, Float[Tensor, "group hyp"]], layout: Layout, k: int
) -> Iterator[dict[str, Any]]:
    """Columns of each shard and critic."""
    start = 0
    for shard in range(store.num_shards):
        groups = store.read(shard)
        vectors = body_vectors(groups.hypotheses.body)
        for critic, all_scores in scores.items():
            own = all_scores[start : start + len(groups)]
            made = _pair_columns if layout == "pairs" else _group_columns
            columns = made(groups, vectors, own, k)
            yield {**columns, **_provenance(store, shard, critic, len(columns[_FIRST[layout]]))}
        start += len(groups)


_FIRST = {"pairs": "prompt", "groups": "id"}
"""The column that names the person."""


def _pair_columns(
    groups: PreferenceGroups, vectors: Float[Tensor, "group hyp 85"], scores: Float[Tensor, "group hyp"], k: int
) -> dict[str, Any]:
    pairs = matched_pairs(scores, k)
    columns: dict[str, Any] = {"prompt": [groups.ids[i] for i in pairs.group.tolist()]}
    sides = {"chosen": pairs.chosen, "rejected": pairs.rejected}
    columns |= {name: vectors[pairs.group, side] for name, side in sides.items()}
    columns |= {f"score_{name}": scores[pairs.group, side] for name, side in sides.items()}
    columns |= {f"index_{name}": side.to(torch.int32) for name, side in sides.items()}
    if groups.x_0 is not None:
        columns |= {f"x_0_{name}": groups.x_0[pairs.group, side] for name, side in sides.items()}
    return columns


def _group_columns(
    groups: PreferenceGroups, vectors: Float[Tensor, "group hyp 85"], scores: Float[Tensor, "group hyp"], k: int
) -> dict[str, Any]:
    columns: dict[str, Any] = {"id": list(groups.ids), "hypotheses": vectors, "scores": scores}
    return columns if groups.x_0 is None else {**columns, "x_0": groups.x_0}


def _provenance(store: GroupStore, shard: int, critic: str, rows: int) -> dict[str, list]:
    """Who sampled, on which body, and who judged, in every row: rows of several exports can be mixed."""
    entry = next(e for e in store.entries if e.shard == shard)
    said = store.critic_facts(critic)
    facts: dict[str, str | bool] = {
        "critic": critic,
        "critic_sha256": str(said.get("sha256", "")),
        "critic_needs_truth": bool(said.get("needs_truth")),
        "source": entry.source,
        "model_sha256": entry.model_sha256,
        "skeleton_hash": entry.skeleton_hash,
        "mesh_hash": store.facts.mesh_hash,
        "shard_sha256": entry.shard_sha256,
    }
    return {name: [value] * rows for name, value in facts.items()}


def _table(arrow: ModuleType, columns: dict[str, Any], store: GroupStore, critics: Sequence[str], layout: Layout):
    arrays = {
        n: _array(arrow, v) if isinstance(v, Tensor) else arrow.array(v, _kind(arrow, n)) for n, v in columns.items()
    }
    about = {
        "format_version": FORMAT_VERSION,
        "layout": layout,
        "body_vector": "72 axis-angle (radians), 10 betas, 3 transl (metres, frame cam)",
        "critics": list(critics),
        "store": asdict(store.facts),
        "content_sha256": store.content_hash(),
    }
    return arrow.table(arrays).replace_schema_metadata({"hmralign": json.dumps(about)})


def _kind(arrow: ModuleType, name: str):
    return arrow.bool_() if name == "critic_needs_truth" else arrow.string()


def _array(arrow: ModuleType, values: Tensor):
    """An array of numbers, or of lists of a fixed length for each further axis."""
    array = arrow.array(values.contiguous().reshape(-1).numpy())
    for size in reversed(values.shape[1:]):
        array = arrow.FixedSizeListArray.from_arrays(array, size)
    return array


def require_pyarrow() -> tuple[ModuleType, ModuleType]:
    """pyarrow and its Parquet module. Raises InputError that says how to install it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f'Parquet files need pyarrow, which is not installed ({error}): pip install "hmralign[export]"'
        ) from error
    return pyarrow, pyarrow.parquet
