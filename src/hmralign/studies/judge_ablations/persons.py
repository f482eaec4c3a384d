"""On whom models are measured, and that they are not those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hmralign.body.model import BodyModel
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.protocol import require_unseen
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.preferences.store import GroupStore
from hmralign.structures import Example, InputError
from hmralign.structures.counted import counted
from hmralign.studies.alignment.measure import Persons
from hmralign.studies.judge_ablations.settings import MeasureOn
from hmralign.systems.evaluate.run import first_persons


@dataclass(frozen=True)
class Measured:
    """Persons of known truth, and where they are from."""

    persons: Persons
    source: str
    """Name of the split, or source of the store's groups."""
    sha256: str
    """Hash of the split, or of the store."""
    log: Path | None = None
    """Where every reading of a test split stands."""
    in_store: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """For the report."""
        source = f"{self.source} (a store)" if self.in_store else self.source
        return {"source": source, "sha256": self.sha256, "persons": len(self.persons)}

    def require_new(self, checkpoint: str) -> None:
        """Raise InputError for weights that were trained on these persons; log the reading of a test split."""
        sources = trained_on(checkpoint)
        require_unseen(sources, self.source)
        if _names_persons(self.source) and self.source in sources:
            raise InputError(f"{checkpoint}: was trained on {self.source}; figures on these persons would mean nothing")
        if self.log is not None:
            sha256 = checkpoint_hash(checkpoint)
            why = "hmralign critic ablate"
            log_opening(self.log, self.source, why, predictor=checkpoint, sha256=sha256)


def measured_persons(on: MeasureOn, learn: GroupStore, score: GroupStore, body: BodyModel) -> Measured:
    """Raises InputError for persons that are learnt on or scored too, and as `open_split` and `GroupStore`."""
    used = {"learn on": learn, "score": score}
    if on.split is not None and on.data is not None:
        for what, other in used.items():
            if other.facts.source == on.split:
                raise InputError(f"the groups to {what} are of {on.split}, which is measured; expected other persons")
        split = first_persons(open_split(on.data, on.split), on.persons)
        return Measured(Persons.of(split, body), on.split, split.sha256, _log_of(on.split, Path(on.data)))
    assert on.store is not None
    store = GroupStore.open(on.store)
    if not store.facts.with_truth:
        raise InputError(f"{on.store}: holds no truth, and models are measured against it; build it with truth")
    for what, other in used.items():
        _require_others(on.store, store, what, other)
    examples = _examples(store)
    count = len(store) if on.persons is None else on.persons
    if count > len(store):
        raise InputError(f"{on.store}: has {counted(len(store), 'person')}, {count} were asked for")
    persons, source = Persons.of_examples(examples[:count], body), store.facts.source
    return Measured(persons, source, store.content_hash(), _log_of(source, Path(on.store)), in_store=True)


def _require_others(name: str, store: GroupStore, what: str, other: GroupStore) -> None:
    """Raise InputError where a store that is measured has a source, or persons of one, that another store has too."""
    mine, theirs = store.facts, other.facts
    if mine.source_sha256 == theirs.source_sha256 and set(store.ids) & set(other.ids):
        raise InputError(f"{name}: has persons of the groups to {what}; models are measured on others")
    if mine.source == theirs.source and _names_persons(mine.source):
        raise InputError(f"{name}: is of {mine.source}, as the groups to {what}; models are measured on others")


def _names_persons(source: str) -> bool:
    """Whether a source is a split, `wild/val`; folders of drawn persons all share a name, such as `shards:train`."""
    return "/" in source


def _log_of(source: str, folder: Path) -> Path | None:
    return folder / "test_openings.jsonl" if source.endswith("/test") else None


def _examples(store: GroupStore) -> Example:
    """Persons of a store with their truth; landmarks are left out."""
    examples = [store.read(shard, truth=True).example for shard in range(store.num_shards)]
    return Example.cat([replace(e, landmarks3d=None) for e in examples])
