"""On whom models are measured, and that they are not those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hmralign.body.model import BodyModel
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.protocol import require_unseen
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.preferences.store import GroupStore
from hmralign.structures import Annotation, BodyParams, Example, InputError, Observation
from hmralign.systems.alignment_study.measure import Persons
from hmralign.systems.evaluate.run import first_persons
from hmralign.systems.gpa_ablations.settings import MeasureOn


@dataclass(frozen=True)
class Measured:
    """Persons of known truth, and where they are from."""

    persons: Persons
    source: str
    sha256: str
    """Of the split, or of the store."""
    log: Path | None = None
    """Where every reading of a test split stands."""

    @property
    def record(self) -> dict[str, Any]:
        """For the report."""
        return {"source": self.source, "sha256": self.sha256, "persons": len(self.persons)}

    def require_new(self, checkpoint: str) -> None:
        """Raise InputError for weights that were trained on these persons; log the reading of a test split."""
        sources = trained_on(checkpoint)
        require_unseen(sources, self.source)
        if self.source in sources:
            raise InputError(f"{checkpoint}: was trained on {self.source}; figures on these persons would mean nothing")
        if self.log is not None:
            sha256 = checkpoint_hash(checkpoint)
            why = "hmralign critic ablate"
            log_opening(self.log, self.source, why, predictor=checkpoint, sha256=sha256)


def measured_persons(on: MeasureOn, score: GroupStore, body: BodyModel) -> Measured:
    """Raises InputError for persons that are in the store to be scored too, and as `open_split` and `GroupStore`."""
    if on.split is not None and on.data is not None:
        if score.facts.source == on.split:
            raise InputError(f"the groups to score are of {on.split}, which is to be measured; expected other persons")
        split = first_persons(open_split(on.data, on.split), on.persons)
        log = Path(on.data) / "test_openings.jsonl" if on.split.endswith("/test") else None
        return Measured(Persons.of(split, body), on.split, split.sha256, log)
    assert on.store is not None
    store = GroupStore.open(on.store)
    if not store.facts.with_truth:
        raise InputError(f"{on.store}: holds no truth, and models are measured against it; build it with truth")
    if store.facts.source_sha256 == score.facts.source_sha256 and set(store.ids) & set(score.ids):
        raise InputError(f"{on.store}: has persons of the groups to score; models are measured on others")
    examples = _examples(store)
    count = len(store) if on.persons is None else on.persons
    if count > len(store):
        raise InputError(f"{on.store}: has {len(store)} persons, {count} were asked for")
    persons = Persons.of_examples(examples[torch.arange(count)], body)
    return Measured(persons, f"{store.facts.source} (a store)", store.content_hash())


def _examples(store: GroupStore) -> Example:
    """Persons of a store with their truth; landmarks are left out."""
    examples = [store.read(shard, truth=True).example for shard in range(store.num_shards)]
    truths = [e.annotation for e in examples if e.annotation is not None]
    seen = Observation(
        *(torch.cat([getattr(e.observation, n) for e in examples]) for n in vars(examples[0].observation))
    )
    body = BodyParams(*(torch.cat([getattr(t.body, n) for t in truths]) for n in vars(truths[0].body)))
    return Example(seen, Annotation(body, torch.cat([t.joints for t in truths])))
