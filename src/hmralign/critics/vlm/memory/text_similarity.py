"""How alike short texts are: hashed n-grams with TF-IDF weights (Salton & Buckley 1988; Weinberger et al. 2009).

Words, pairs of words, and runs of four letters, hashed into `DIM` places with a sign each, so that collisions cancel on
average. Enough to see that two sentences say the same in nearly the same words; it knows nothing of meaning.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from hmralign.critics.vlm.memory.records import normalised

DIM = 4096
_LETTERS = 4


def text_vectors(texts: Sequence[str]) -> Float[np.ndarray, "text dim"]:
    """Unit vectors whose products are similarities, -1 to 1; zeros for a text without words.

    Rare n-grams among these texts weigh more, so vectors of two calls do not compare.
    """
    counts = [_grams(normalised(text)) for text in texts]
    seen = Counter(gram for grams in counts for gram in grams)
    vectors = np.zeros((len(texts), DIM), np.float32)
    for vector, grams in zip(vectors, counts, strict=True):
        for gram, count in grams.items():
            place, sign = _place(gram)
            vector[place] += sign * (1 + np.log(count)) * (1 + np.log((1 + len(texts)) / (1 + seen[gram])))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def text_similarity(query: str, texts: Sequence[str]) -> Float[np.ndarray, " text"]:
    """Similarity of one text to each of some others."""
    vectors = text_vectors([query, *texts])
    return (vectors[1:] @ vectors[0]).astype(np.float64)


@lru_cache(maxsize=4096)
def _grams(text: str) -> Counter[str]:
    words = text.split()
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    spaced = f" {text} "
    runs = [f"#{spaced[i : i + _LETTERS]}" for i in range(len(spaced) - _LETTERS + 1)]
    return Counter([*words, *pairs, *runs])


@lru_cache(maxsize=65536)
def _place(gram: str) -> tuple[int, int]:
    number = int.from_bytes(hashlib.blake2b(gram.encode(), digest_size=8).digest(), "big")
    return number % DIM, 1 if number >> 63 else -1
