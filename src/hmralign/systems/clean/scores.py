"""Every label judged by one critic, in chunks that are files: a run that is killed loses one of them at most.

    folder/scores_00000.safetensors ...   while it runs
    folder/scores.safetensors             when all are there

Chunks are cut in the same places and a critic that draws starts anew for each, so that a run which was killed and
continued gives what the straight run gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from hmralign.cleaning.reference import SampleReference
from hmralign.critics.critic import Critic, can_judge, judge
from hmralign.critics.mix import MixCritic
from hmralign.critics.recorded import RecordedCritic, recorded_mix
from hmralign.data.shards import save_whole
from hmralign.preferences.build import CriticOf
from hmralign.storage.whole_file import remove_parts
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.systems.clean.sources import LabelSource

Progress = Callable[[Sequence[int], str], Iterable[int]]
"""Goes through numbers of chunks and shows how far it is."""

_PART, _REFERENCE = "part.", "reference"


@dataclass(frozen=True)
class LabelScores:
    """Scores of all labels; of each hypothesis, where a label is to be chosen."""

    scores: Float[Tensor, "item hyp"]
    judged: Bool[Tensor, " item"]
    """Labels on which the critic has evidence."""
    parts: dict[str, Float[Tensor, "item hyp"]]
    """Scores of a mix's parts, NaN where a part has no evidence; empty for other critics."""
    reference: Float[Tensor, " item"] | None = None
    """The critic's mean score of samples on each label's keypoints, where they were asked for."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def chosen(self) -> Tensor:
        """Number of each label's hypothesis: the best one, the first of equal ones."""
        best = self.scores == self.scores.amax(1, keepdim=True)
        return best.to(torch.uint8).argmax(1)

    def of_chosen(self, values: Float[Tensor, "item hyp"]) -> Float[Tensor, " item"]:
        """Values of the chosen hypothesis of each label."""
        return values.gather(1, self.chosen[:, None])[:, 0]


def score_labels(
    source: LabelSource,
    critic_of: CriticOf,
    folder: Path,
    chunk_size: int,
    progress: Progress,
    reference: SampleReference | None = None,
    device: str | torch.device = "cpu",
) -> LabelScores:
    """Judge what is not judged yet, on the critic's device, then everything in one file; samples where a reference is.

    Raises InputError naming the items where the critic fails or gives scores that are not finite (what was scored
    before stays), and for a file that is damaged or of other items.
    """
    chunks = LabelChunks(source, critic_of, folder, chunk_size, reference, device)
    if not chunks.whole.is_file():
        for number in progress(chunks.missing(), "judging labels"):
            chunks.make(number)
        parts = [read_scores(_chunk_file(folder, n), c.stop - c.start) for n, c in enumerate(chunks.cut)]
        save_whole(_tensors(_joined(parts)), chunks.whole)
    for chunk in folder.glob("scores_*.safetensors"):
        chunk.unlink()
    remove_parts(folder)
    return read_scores(chunks.whole, len(source.ids))


@dataclass(frozen=True)
class LabelChunks:
    """Labels in chunks, each judged whole by any process (`engines.work.Units`); arguments as `score_labels`."""

    source: LabelSource
    critic_of: CriticOf
    folder: Path
    chunk_size: int
    reference: SampleReference | None = None
    device: str | torch.device = "cpu"

    @property
    def whole(self) -> Path:
        """The file of all scores."""
        return self.folder / "scores.safetensors"

    @property
    def cut(self) -> list[slice]:
        """Which labels are in each chunk."""
        count = len(self.source.ids)
        return [slice(s, min(s + self.chunk_size, count)) for s in range(0, count, self.chunk_size)]

    def __len__(self) -> int:
        return len(self.cut)

    def make(self, number: int) -> bool:
        """Judge a chunk; False where it is judged. Raises as `score_labels`."""
        path, items = _chunk_file(self.folder, number), self.cut[number]
        if self.whole.is_file() or path.is_file():
            return False
        critic = self.critic_of(self.source.ids[items])
        save_whole(_tensors(_scored_chunk(self.source, items, critic, self.reference, self.device)), path)
        return True

    def missing(self) -> list[int]:
        """Numbers of the chunks that are not judged."""
        if self.whole.is_file():
            return []
        return [number for number in range(len(self)) if not _chunk_file(self.folder, number).is_file()]


def read_scores(path: Path, items: int) -> LabelScores:
    """Scores of a file. Raises InputError where it is damaged, or of another number of items."""
    try:
        tensors = load(path.read_bytes())
        scores, judged = tensors.pop("scores"), tensors.pop("judged")
        reference = tensors.pop(_REFERENCE, None)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a file of scores ({error}); remove it to have them judged again") from error
    if scores.ndim != 2 or len(scores) != items or tuple(judged.shape) != (items,) or not scores.isfinite().all():
        raise InputError(
            f"{path}: its scores are not those of {counted(items, 'item')}; remove it to have them judged again"
        )
    if reference is not None and (tuple(reference.shape) != (items,) or not reference.isfinite().all()):
        raise InputError(
            f"{path}: its reference is not that of {counted(items, 'item')}; remove it to have them judged again"
        )
    parts = {name.removeprefix(_PART): tensors[name] for name in sorted(tensors)}
    return LabelScores(scores, judged, parts, reference)


def _chunk_file(folder: Path, number: int) -> Path:
    return folder / f"scores_{number:05d}.safetensors"


def _scored_chunk(
    source: LabelSource, items: slice, critic: Critic, reference: SampleReference | None, device: str | torch.device
) -> LabelScores:
    batch = source.labels(items)
    hypotheses, example = batch.hypotheses.to(device), batch.example.to(device)
    recorded: list[RecordedCritic] = []
    if isinstance(critic, MixCritic):
        critic, recorded = recorded_mix(critic)
    try:
        scores = judge(critic, hypotheses, example)
        sampled = None if reference is None else reference.scores(critic, example.observation, source.ids[items]).cpu()
    except InputError as error:
        first, last = source.ids[items.start], source.ids[items.stop - 1]
        raise InputError(f"labels '{first}' to '{last}': {error}") from error
    parts = {}
    for part in recorded:
        heard = part.can_judge(example)[:, None]
        parts[part.name] = torch.where(heard, part.scores, torch.nan).cpu()
    return LabelScores(scores.cpu(), can_judge(critic, example).cpu(), parts, sampled)


def _tensors(scored: LabelScores) -> dict[str, Tensor]:
    named = {f"{_PART}{name}": values.contiguous() for name, values in scored.parts.items()}
    if scored.reference is not None:
        named[_REFERENCE] = scored.reference.contiguous()
    return {"scores": scored.scores.contiguous(), "judged": scored.judged.contiguous(), **named}


def _joined(parts: Sequence[LabelScores]) -> LabelScores:
    references = [p.reference for p in parts if p.reference is not None]
    return LabelScores(
        torch.cat([p.scores for p in parts]),
        torch.cat([p.judged for p in parts]),
        {name: torch.cat([p.parts[name] for p in parts]) for name in parts[0].parts},
        torch.cat(references) if references else None,
    )
