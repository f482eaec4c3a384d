"""One derivation of what is drawn: from a seed, a purpose, and whom or what it is drawn for.

A draw depends on these names alone: not on the shard or batch that a person is in, nor on the order in which persons
come, nor on what was drawn before. Sums and products of a seed and a number do not do: seed 1 of one thing would be
seed 0 of its neighbour.

    seeded(seed, "groups", group_id)    the samples of a group
    seeded(seed, "step", 17)            the noise of a training step

What is older and frozen has seeds of its own: SynthWild v1 (`systems.synth.write_synthwild`), and the
calls of a judge (`critics.vlm.plan`), whose answers were paid for.
"""

from __future__ import annotations

import hashlib
import json

import torch

DERIVATION = 2
"""Number of this derivation, for records: what another one drew is not continued. 1 were sums and products."""


def derived_seed(seed: int, *names: str | int) -> int:
    """A seed from 0 to 2^31 - 1 by SHA-256 of a seed and names: a purpose first, then whom it is for.

    The names `1` and `"1"` differ. Any configuration takes such a seed; of a larger one torch takes 32 bits.

    >>> derived_seed(0, "groups", "photo.jpg#0")
    420628076
    """
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def seeded(seed: int, *names: str | int) -> torch.Generator:
    """A generator on the CPU that starts from `derived_seed`.

    >>> a, b = (torch.rand(2, generator=seeded(0, "groups", "photo.jpg#0")) for _ in range(2))
    >>> bool((a == b).all())
    True
    """
    return torch.Generator().manual_seed(derived_seed(seed, *names))
