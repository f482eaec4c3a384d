"""Which hypotheses a judge sees in which call, in what order and under what names.

Several hypotheses per call, in several calls with other neighbours each time: batched judging with varied batches beats
judging one by one and one fixed order (Tang et al. 2023, arXiv 2310.07712; Korikov et al. 2025, arXiv 2505.12570).
What the calls have in common ties their scales together (`merge.py`). A plan depends on the group's id and the seed
alone, so that a run which is continued asks the same questions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

from hmralign.structures import InputError
from hmralign.structures.counted import counted

Design = Literal["windows", "all", "pairs"]
Naming = Literal["letters", "ordinals"]

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Names of tiles; I and O look like digits."""

_TRIES = 1000


@dataclass(frozen=True)
class Call:
    """One question: hypotheses in the order shown, each with its label."""

    hypotheses: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class PlanOptions:
    """How a group is split into calls."""

    design: Design = "windows"
    """`windows`: random partitions; `all`: every hypothesis in each call; `pairs`: two at a time."""
    rounds: int = 2
    """Partitions, permutations, or neighbours on either side that a hypothesis is compared with."""
    window: int = 10
    """Hypotheses per call of the design `windows`, at most; at least 3."""
    mirrored: bool = True
    """Whether every second round shows last what the round before showed first: a bias that grows steadily with the
    place then nearly cancels, and is told apart from quality (docs/results/vlm_merge.md). In the design `all` that
    is the same order reversed, with the same neighbours."""
    naming: Naming = "letters"
    """`letters` are drawn for each call, so that none stands for an order; `ordinals` are image_2, image_3, ..."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers that are no plan."""
        if self.rounds < 1 or self.window < 3:
            raise InputError(
                f"a plan has {counted(self.rounds, 'round')} of windows of {self.window}; expected at least 1 "
                "round and windows "
                "of at least 3"
            )


def plan(group_id: str, group_size: int, seed: int = 0, options: PlanOptions | None = None) -> tuple[Call, ...]:
    """Calls for one group; the same for the same id and seed, whatever was planned before.

    Raises InputError for fewer than two hypotheses, and for a call with more tiles than there are letters.
    """
    options, generator = options or PlanOptions(), group_generator(group_id, seed)
    if options.design == "windows":
        orders = windows(group_size, options.window, options.rounds, generator, mirrored=options.mirrored)
    elif options.design == "all":
        orders = permutations(group_size, options.rounds, generator, mirrored=options.mirrored)
    else:
        orders = pairs(group_size, options.rounds, generator)
    return tuple(Call(order, _names(len(order), options.naming, generator)) for order in orders)


def group_generator(group_id: str, seed: int) -> torch.Generator:
    """Generator of a group: from its id and the seed, so that groups neither share draws nor depend on their order."""
    digest = hashlib.sha256(f"{seed}\n{group_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def windows(
    group_size: int, window: int, partitions: int, generator: torch.Generator, *, mirrored: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Random partitions into windows of nearly equal size, at most `window`.

    Each hypothesis is judged `partitions` times. With two partitions or more all windows hang together through shared
    hypotheses; with one they cannot, and levels of different windows do not compare. `mirrored` as in `PlanOptions`.
    Raises InputError where chance finds no such partitions.
    """
    _require_group(group_size)
    if window < 3 or partitions < 1:
        raise InputError(f"{partitions} partitions into windows of {window}; expected at least 1, windows of 3 or more")
    for _ in range(_TRIES):
        rounds = [_partition(group_size, window, generator) for _ in range(partitions)]
        if partitions == 1 or len(components([call for r in rounds for call in r], group_size)) == 1:
            rounds = _mirrored(rounds) if mirrored else rounds
            return tuple(call for calls in rounds for call in calls)
    raise InputError(
        f"{partitions} partitions of {counted(group_size, 'hypothesis')} into windows of {window} did not hang "
        "together; "
        "expected larger windows or more partitions"
    )


def permutations(
    group_size: int, count: int, generator: torch.Generator, *, mirrored: bool = False
) -> tuple[tuple[int, ...], ...]:
    """All hypotheses in each call, in `count` random orders; `mirrored` as in `PlanOptions`."""
    _require_group(group_size)
    rounds = [[tuple(torch.randperm(group_size, generator=generator).tolist())] for _ in range(count)]
    return tuple(calls[0] for calls in (_mirrored(rounds) if mirrored else rounds))


def pairs(group_size: int, rounds: int, generator: torch.Generator) -> tuple[tuple[int, ...], ...]:
    """Neighbours on a random ring, up to `rounds` steps apart.

    All hang together, each hypothesis stands first as often as second, and no pair is asked twice. Raises InputError
    for more rounds than the ring has room for.
    """
    _require_group(group_size)
    if group_size == 2:
        return (tuple(torch.randperm(2, generator=generator).tolist()),)
    if not 1 <= rounds <= (group_size - 1) // 2:
        raise InputError(
            f"{counted(rounds, 'round')} of pairs of {counted(group_size, 'hypothesis')}; "
            f"expected 1 to {(group_size - 1) // 2}"
        )
    ring = torch.randperm(group_size, generator=generator).tolist()
    return tuple((ring[i], ring[(i + step) % group_size]) for step in range(1, rounds + 1) for i in range(group_size))


def letters(count: int, generator: torch.Generator) -> tuple[str, ...]:
    """Different letters in random order. Raises InputError for more than there are."""
    if not 1 <= count <= len(LETTERS):
        raise InputError(
            f"a call with {counted(count, 'tile')} was asked for; expected 1 to {len(LETTERS)}, so use windows"
        )
    return tuple(LETTERS[i] for i in torch.randperm(len(LETTERS), generator=generator)[:count].tolist())


def ordinals(count: int) -> tuple[str, ...]:
    """`image_2`, `image_3`, ...: the photo is the first picture."""
    return tuple(f"image_{n}" for n in range(2, count + 2))


def components(calls: Iterable[Sequence[int]], group_size: int) -> tuple[tuple[int, ...], ...]:
    """Sets of hypotheses that hang together through calls, each sorted, ordered by the first."""
    root = list(range(group_size))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for call in calls:
        for other in call[1:]:
            low, high = sorted((find(call[0]), find(other)))
            root[high] = low
    sets: dict[int, list[int]] = {}
    for i in range(group_size):
        sets.setdefault(find(i), []).append(i)
    return tuple(tuple(members) for members in sets.values())


def _partition(group_size: int, window: int, generator: torch.Generator) -> list[tuple[int, ...]]:
    order = torch.randperm(group_size, generator=generator).tolist()
    count = math.ceil(group_size / window)
    edges = [k * group_size // count for k in range(count + 1)]
    return [tuple(order[a:b]) for a, b in pairwise(edges)]


def _mirrored(rounds: Sequence[list[tuple[int, ...]]]) -> list[list[tuple[int, ...]]]:
    """Every second round in descending order of the relative places of the round before."""
    result = list(rounds)
    for number in range(1, len(result), 2):
        place = {i: k / len(call) for call in result[number - 1] for k, i in enumerate(call)}
        result[number] = [tuple(sorted(call, key=lambda i: -place[i])) for call in result[number]]
    return result


def _names(count: int, naming: Naming, generator: torch.Generator) -> tuple[str, ...]:
    return letters(count, generator) if naming == "letters" else ordinals(count)


def _require_group(group_size: int) -> None:
    if group_size < 2:
        raise InputError(f"a group of {counted(group_size, 'hypothesis')} cannot be compared; expected at least 2")
