"""Scores, fates and reasons of all labels as Parquet, for other programs: needs pyarrow (extra `[export]`).

column       type     meaning
id           text     as in cleaned.jsonl and dropped.jsonl
number       int64    place in the source
hypothesis   int32    which one was judged
score        float32  the critic's; null where it has no evidence
level        float32  what was held against the threshold; null alike
kept         bool
reason       text     why it was dropped; null for kept ones
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.cleaning.selection import Selection
from hmralign.preferences.parquet import require_pyarrow
from hmralign.storage.whole_file import whole_file
from hmralign.structures import InputError
from hmralign.systems.clean.scores import LabelScores
from hmralign.systems.clean.sources import LabelSource

FORMAT_VERSION = 1
_ROWS_AT_ONCE = 65_536


def export_scores(
    path: Path, source: LabelSource, scored: LabelScores, selection: Selection, plan: dict[str, Any]
) -> int:
    """Write a row for each label, whole or not at all; returns how many.

    Raises InputError where pyarrow is not installed, and for a path that does not end in .parquet.
    """
    if path.suffix != ".parquet":
        raise InputError(f"{path}: expected a file name that ends in .parquet")
    arrow, parquet = require_pyarrow()
    about = {"format_version": FORMAT_VERSION, "threshold": selection.threshold, **plan}
    schema = arrow.schema(
        [("id", arrow.string()), ("number", arrow.int64()), ("hypothesis", arrow.int32()), ("score", arrow.float32()),
         ("level", arrow.float32()), ("kept", arrow.bool_()), ("reason", arrow.string())],
        metadata={"hmralign": json.dumps(about)},
    )  # fmt: skip
    scores, chosen = scored.of_chosen(scored.scores).numpy(), scored.chosen.numpy()
    with whole_file(path) as part, parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        for first in range(0, len(source.ids), _ROWS_AT_ONCE):
            rows = slice(first, min(first + _ROWS_AT_ONCE, len(source.ids)))
            silent = ~selection.judged[rows]
            columns = [
                list(source.ids[rows]), np.arange(rows.start, rows.stop), chosen[rows].astype(np.int32),
                arrow.array(scores[rows].astype(np.float32), mask=silent),
                arrow.array(selection.levels[rows].astype(np.float32), mask=silent),
                selection.keep[rows], list(selection.reasons[rows]),
            ]  # fmt: skip
            arrays = [arrow.array(c, kind) for c, kind in zip(columns, schema.types, strict=True)]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))
    return len(source.ids)
