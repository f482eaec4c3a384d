"""The kept labels as a data set of their own: shards that `hmralign train` takes, or a prediction file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmralign.body.npz_file import read_npz, write_npz
from hmralign.data.shards import write_index, write_shard
from hmralign.systems.clean.sources import PredictionLabels, ShardLabels

SHARD_SIZE = 5_000
"""Persons per file of a cleaned shard folder."""

_OF_A_SPLIT = ("format_version", "examples", "benchmark", "split", "sha256", "cleaned_from")
"""What the index of a source says of itself as a whole, and its cleaned copy may not repeat."""

_PER_HYPOTHESIS = ("global_orient", "body_pose", "betas", "transl", "pred_cam", "joints", "rest_joints")


def write_cleaned_shards(labels: ShardLabels, kept: Sequence[int], folder: Path, made_by: dict[str, Any]) -> Path:
    """The kept persons as they are in the source, in its order; the index last.

    Shards from an interrupted run are written again. `made_by` stands in the index as `cleaned_from`.
    """
    if (folder / "index.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for number, items in enumerate(torch.tensor(kept).split(SHARD_SIZE)):
        write_shard(folder, number, labels.shards[items])
    facts = {name: value for name, value in labels.index.items() if name not in _OF_A_SPLIT}
    write_index(folder, examples=len(kept), **facts, cleaned_from=made_by)
    return folder


def write_cleaned_predictions(
    labels: PredictionLabels, kept: Sequence[int], hypotheses: Sequence[int], path: Path
) -> Path:
    """The kept persons with the one hypothesis that was judged to be theirs, every array in its own type."""
    source = labels.predictions.path
    arrays = read_npz(source)
    rows = np.asarray(kept)
    for name, array in arrays.items():
        if array.ndim == 0:
            continue  # a word about all persons
        arrays[name] = array[rows, np.asarray(hypotheses)][:, None] if name in _PER_HYPOTHESIS else array[rows]
    return write_npz(path, arrays)
