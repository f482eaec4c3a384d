"""From a group to what its judge is shown of the memory: cases that look alike, then rules about what they are about.

1. Cases by similarity of embeddings (cosine), without the group's own photos, its video, and near-duplicates of it.
2. Of these the K that are relevant and differ from each other (maximal marginal relevance, Carbonell & Goldstein 1998).
3. At least one that is good and one that is bad, where the memory has such: a scale needs two ends.
4. Tags of the query: those of the cases shown. Nothing else tells what a group is about before it is judged.
5. Rules by relevance to these tags and usefulness (`selection`).

Without an embedding, or in a memory that has none, cases are compared by their words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from hmralign.critics.vlm.memory.counting import Counting
from hmralign.critics.vlm.memory.prototype_index import PrototypeIndex
from hmralign.critics.vlm.memory.records import EmbeddingSpace, require_same_space
from hmralign.critics.vlm.memory.selection import SelectionOptions, select_rules
from hmralign.critics.vlm.memory.store import Memory
from hmralign.critics.vlm.memory.text_similarity import text_vectors
from hmralign.structures import InputError, MemoryContext
from hmralign.structures.counted import counted


@dataclass(frozen=True)
class RetrievalOptions:
    """What is shown of a memory."""

    prototypes: int = 3
    """K, cases; each costs two pictures."""
    rules: int = 5
    diversity: float = 0.3
    """Weight of being unlike the cases already chosen, 0 to 1."""
    near_duplicate: float = 0.995
    """Similarity from which a case is taken for the query itself."""
    low: float = 40.0
    high: float = 70.0
    """Scores up to and from which a case is a bad and a good one, 0..100."""
    selection: SelectionOptions = field(default_factory=SelectionOptions)
    counting: Counting = field(default_factory=Counting)

    def __post_init__(self) -> None:
        """Raise InputError for negative numbers and shares that are none."""
        if self.prototypes < 0 or self.rules < 0 or not 0 <= self.diversity <= 1 or self.low >= self.high:
            raise InputError(
                f"{counted(self.prototypes, 'prototype')}, {counted(self.rules, 'rule')}, diversity "
                f"{self.diversity}, scores {self.low} and "
                f"{self.high}; expected 0 or more, 0 to 1, low below high"
            )


@dataclass(frozen=True)
class Query:
    """A group that is to be judged. `tags` are those that are known already; `text` is for a memory without vectors."""

    images: tuple[str, ...] = ()
    """Hashes of its photos, which must not be shown as cases."""
    sequence: str = ""
    """Video or session; its other frames are no evidence."""
    embedding: Float[np.ndarray, " dim"] | None = None
    space: EmbeddingSpace | None = None
    text: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retrieved:
    """What a judge is shown, and the ids for the log; most relevant first."""

    context: MemoryContext
    rules: tuple[str, ...]
    prototypes: tuple[str, ...]
    tags: tuple[str, ...]
    """Tags of the query, sorted."""

    def without(self, rule: str) -> Retrieved:
        """The same but for one rule. Raises InputError where it is not among those shown."""
        if rule not in self.rules:
            raise InputError(f"rule '{rule}' is to be left out, and was not shown")
        others = tuple(r for r in self.context.rules if r.id != rule)
        ids = tuple(name for name in self.rules if name != rule)
        return Retrieved(MemoryContext(others, self.context.prototypes), ids, self.prototypes, self.tags)


def retrieve(
    memory: Memory, query: Query, options: RetrievalOptions | None = None, generator: torch.Generator | None = None
) -> Retrieved:
    """Cases and rules for a group. `generator` is for a selection that draws.

    Raises InputError for an embedding of another space than the memory's.
    """
    options = options or RetrievalOptions()
    index = memory.prototype_index()
    require_query_space(memory, query)
    chosen = choose_prototypes(index, query, options)
    tags = tuple(sorted({*query.tags, *(tag for i in chosen for tag in index.tags[i])}))
    rules = select_rules(
        memory.rules(options.counting), tags, options.rules, options.selection, generator, memory.conflicts()
    )
    cases = memory.prototypes([index.ids[i] for i in chosen])
    return Retrieved(
        MemoryContext(rules, cases), tuple(rule.id for rule in rules), tuple(case.id for case in cases), tags
    )


def require_query_space(memory: Memory, query: Query) -> None:
    """Raise InputError where a query's embedding has no space, another length, or another space than the memory's."""
    if query.embedding is not None:
        if query.space is None or query.space.dim != len(query.embedding):
            raise InputError(f"an embedding of {counted(len(query.embedding), 'number')} comes with the space "
                             f"{query.space}; "
                             "expected one that fits")  # fmt: skip
        require_same_space(memory.space, query.space, memory.path)


def choose_prototypes(index: PrototypeIndex, query: Query, options: RetrievalOptions) -> tuple[int, ...]:
    """Rows of the index, most similar first; deterministic, ties go to the smaller id."""
    similar, vectors, candidates = _similarities(index, query, options)
    chosen = _diverse(similar, vectors, candidates, options)
    for wanted in (index.scores >= options.high, index.scores <= options.low):
        chosen = _with_one(chosen, wanted, index.scores, similar, candidates, options)
    return tuple(sorted(chosen, key=lambda i: (-similar[i], i)))


def _similarities(
    index: PrototypeIndex, query: Query, options: RetrievalOptions
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Similarity to each case, vectors of the cases, and which may be shown."""
    own = [
        bool(images & set(query.images)) or bool(sequence and sequence == query.sequence)
        for images, sequence in zip(index.images, index.sequences, strict=True)
    ]
    if query.embedding is not None and any(index.has_embedding):
        vectors = index.embeddings
        similar = (vectors @ query.embedding.astype(np.float32)).astype(np.float64)
        usable = [has and s < options.near_duplicate for has, s in zip(index.has_embedding, similar, strict=True)]
    else:
        said = [f"{text} {' '.join(tags)}" for text, tags in zip(index.reasonings, index.tags, strict=True)]
        every = text_vectors([f"{query.text} {' '.join(query.tags)}", *said])
        vectors, similar = every[1:], (every[1:] @ every[0]).astype(np.float64)
        usable = [True] * len(said)
    return similar, vectors, [i for i, o in enumerate(own) if usable[i] and not o]


def _diverse(similar: np.ndarray, vectors: np.ndarray, candidates: list[int], options: RetrievalOptions) -> list[int]:
    """Maximal marginal relevance: one after the other, each like the query and unlike those before it."""
    rest, chosen = np.array(candidates, np.int64), list[int]()
    nearest = np.zeros(len(rest))
    while len(rest) and len(chosen) < options.prototypes:
        value = (1 - options.diversity) * similar[rest] - options.diversity * nearest
        best = int(np.argmax(np.round(value, 9)))
        chosen.append(int(rest[best]))
        rest, nearest = np.delete(rest, best), np.delete(nearest, best)
        nearest = np.maximum(nearest, (vectors @ vectors[chosen[-1]])[rest])
    return chosen


def _with_one(
    chosen: list[int],
    wanted: np.ndarray,
    scores: np.ndarray,
    similar: np.ndarray,
    candidates: list[int],
    options: RetrievalOptions,
) -> list[int]:
    """The same cases with one of the wanted kind among them, in the place of the least similar that can be spared."""
    others = [i for i in candidates if wanted[i] and i not in chosen]
    if len(chosen) < 2 or any(wanted[i] for i in chosen) or not others:
        return chosen
    new = max(others, key=lambda i: (similar[i], -i))
    good = [i for i in chosen if scores[i] >= options.high]
    spared = [i for i in chosen if [i] != good]
    gone = min(spared, key=lambda i: (similar[i], -i))
    return [i for i in chosen if i != gone] + [new]
