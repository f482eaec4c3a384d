"""Work for pools of threads and processes that share one recoverer; by name, so that spawned processes find it."""

import hashlib

import torch

from hmralign import Recoverer
from support.fake_detector_environment import photo_of_person

_shared: Recoverer | None = None


def share(recoverer: Recoverer, threads: int) -> None:
    """Give this process its recoverer, and torch this many threads; `initializer` of a pool."""
    global _shared
    torch.set_num_threads(threads)
    _shared = recoverer


def whole_answer(tag: int) -> tuple[str, int | None]:
    """Hash of all numbers of the photo's one person, and the id of the detector process that was asked."""
    assert _shared is not None
    (person,) = _shared(photo_of_person(tag))
    body = person.fused
    numbers = [*vars(body).values(), person.hypotheses.joints, person.scores, person.keypoints]
    digest = hashlib.sha256(b"".join(n.numpy().tobytes() for n in numbers)).hexdigest()
    return digest, _shared.detector._client.process_id  # pyright: ignore


def mean_place(tag: int) -> float:
    """Where the person stands, metres; in a process with torch's own number of threads."""
    assert _shared is not None
    return float(_shared(photo_of_person(tag))[0].fused_joints[:, 0].mean())
