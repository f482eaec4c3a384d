"""A cell: one row on one base with one fine-tuning seed, rate and length; a folder with weights and figures.

    cells/<row>_b0_s0_r0.0003_n300_<hash>/
      facts.json          written last: the training is done. CPU seconds, whether the guard stopped it, or why there
                          are no weights
      model.safetensors   the aligned weights
      curve.jsonl         the looks of the training
      wild_val_300_m20_<hash>.npz    errors per person and column, see `measure`

The hash is of everything that the weights depend on: settings, base, groups, scores. A cell without `facts.json` is
made anew from its beginning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.body.npz_file import read_npz, write_npz
from hmralign.models.checkpoint import checkpoint_hash, load_checkpoint, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.store import GroupStore
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import write_json
from hmralign.structures import InputError
from hmralign.studies.alignment.measure import Columns, Kind
from hmralign.studies.alignment.person_groups import BaseWeights
from hmralign.studies.alignment.rows import Row, row_named
from hmralign.systems.align.configuration import AlignConfig
from hmralign.systems.align.run import align_policy

logger = logging.getLogger("hmralign.alignment_study")


@dataclass(frozen=True)
class Cell:
    """One training."""

    row: Row
    base: int = 0
    seed: int = 0
    rate: float = 0.0
    steps: int = 0
    store: str = "wild"

    @property
    def name(self) -> str:
        """For people, and for the first part of the folder's name."""
        where = "" if self.store == "wild" else f"_{self.store}"
        trained = f"_s{self.seed}_r{self.rate:g}_n{self.steps}" if self.row.trains else ""
        return f"{self.row.key}_b{self.base}{trained}{where}"

    @property
    def parent(self) -> Cell | None:
        """The cell whose weights are taken further; None for cells that are trained themselves."""
        if self.row.extrapolates is None:
            return None
        return replace(self, row=row_named(self.row.extrapolates))


@dataclass(frozen=True)
class Facts:
    """What is known of a training."""

    cpu_seconds: float
    groups: int = 0
    stopped: str | None = None
    """Why the guard ended it early."""
    skipped: str | None = None
    """Why there are no weights."""


def training_config(cell: Cell, batch_size: int) -> AlignConfig:
    """Settings of a cell's training; how few persons help is one of the study's questions, so none are too few."""
    assert cell.row.config is not None
    training = replace(
        cell.row.config.training,
        steps=cell.steps, learning_rate=cell.rate, seed=cell.seed, batch_size=batch_size, save_every=cell.steps,
    )  # fmt: skip
    return replace(cell.row.config, training=training, min_persons=1)


def identity(cell: Cell, base: BaseWeights, store: GroupStore | None, batch_size: int) -> str:
    """Eight digits of everything that a cell's weights depend on."""
    what: dict[str, Any] = {"base": base.sha256, "factor": cell.row.factor if cell.row.extrapolates else None}
    source = cell.parent or cell
    if source.row.config is not None:
        assert store is not None
        config = training_config(source, batch_size)
        what |= {"config": asdict(config), "groups": store.content_hash()}
        if config.scores:
            what["scores"] = [store.critic_facts(critic).get("sha256") for critic in config.scores]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]


def read_facts(folder: Path) -> Facts | None:
    """Read the facts of a finished training; None where it is not finished."""
    path = folder / "facts.json"
    return Facts(**read_json(path, "the facts of a training")) if path.is_file() else None


def _write_facts(folder: Path, facts: Facts) -> Facts:
    write_json(folder / "facts.json", asdict(facts), indent=1)
    return facts


def train_cell(
    cell: Cell, base: BaseWeights, store: GroupStore, policy: LitePolicy, folder: Path, batch_size: int
) -> Facts:
    """Align the base's policy, from the beginning; weights and facts are in the folder afterwards.

    A direct reward whose critic has no gradient is no error here: the facts say so.
    """
    shutil.rmtree(folder, ignore_errors=True)
    run, started = folder / "run", time.process_time()
    config = training_config(cell, batch_size)
    try:
        done = align_policy(policy, base.sha256, policy.body, store, config, run)
    except InputError as error:
        if config.uses_scores or not config.follows_critic:
            raise
        shutil.rmtree(folder, ignore_errors=True)
        return _write_facts(folder, Facts(round(time.process_time() - started, 1), skipped=str(error)))
    sources = store.facts.source.split("+")  # of drawn persons it names every source
    done.policy.save(folder / "model.safetensors", tuple(dict.fromkeys((*base.trained_on, *sources))))
    (run / "curve.jsonl").replace(folder / "curve.jsonl")
    shutil.rmtree(run)
    return _write_facts(folder, Facts(round(time.process_time() - started, 1), done.groups, done.stopped))


def extrapolate_cell(cell: Cell, base: BaseWeights, parent: Path, policy: LitePolicy, folder: Path) -> Facts:
    """Weights of the base, moved `factor` times as far as the parent's training moved them."""
    found = read_facts(parent)
    assert found is not None
    shutil.rmtree(folder, ignore_errors=True)
    if found.skipped is not None:
        return _write_facts(folder, Facts(0.0, skipped=found.skipped))
    started, factor = time.process_time(), cell.row.factor
    aligned = load_checkpoint(parent / "model.safetensors", policy.body.skeleton_hash).state_dict()
    state = policy.model.state_dict()
    policy.model.load_state_dict({k: v + factor * (aligned[k] - v) for k, v in state.items()})
    folder.mkdir(parents=True)
    policy.save(folder / "model.safetensors", _sources_of_both(base, parent))
    seconds = round(time.process_time() - started + found.cpu_seconds, 1)
    return _write_facts(folder, Facts(seconds, found.groups, found.stopped))


def _sources_of_both(base: BaseWeights, parent: Path) -> tuple[str, ...]:
    """Sources of the base and of weights that were aligned from it."""
    return tuple(dict.fromkeys((*base.trained_on, *trained_on(parent / "model.safetensors"))))


def write_measurement(path: Path, columns: dict[Kind, Columns], seconds: float) -> None:
    """Columns of every kind as `kind.column`, metres."""
    arrays: dict[str, Any] = {
        f"{kind}.{name}": values.astype(np.float32) for kind, found in columns.items() for name, values in found.items()
    }
    write_npz(path, {"cpu_seconds": np.array(seconds), **arrays}, compressed=False)


def read_measurement(path: Path) -> tuple[dict[Kind, Columns], float]:
    """What `write_measurement` wrote. Raises InputError for a file that is damaged."""
    found: dict[Any, Columns] = {}
    try:
        arrays = read_npz(path)
        for name, values in arrays.items():
            kind, _, column = name.partition(".")
            if column:
                found.setdefault(kind, {})[column] = values.astype(np.float64)
        return found, float(arrays["cpu_seconds"])
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a measurement ({error}); remove it") from error


def weights_of(folder: Path, base: BaseWeights, row: Row) -> tuple[str, str]:
    """Path, or name, and hash of what a cell is measured with."""
    if not row.trains:
        return base.checkpoint, base.sha256
    path = folder / "model.safetensors"
    return str(path), checkpoint_hash(path)
