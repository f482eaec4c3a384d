"""Sentence encoders trained here, from words alone: `small` reads them in order, `bag` only counts them.

A word is its own vector plus those of its trigrams of letters, so that a word never met still looks like its relatives
(Bojanowski et al. 2017, sec. 3). Vectors may also be borrowed, once, from a large encoder, for words of training and
for others: a synonym then lies where training can use it, and trigrams are left to words without such a vector.

`bag` is a control: it cannot know which of two limbs is bent, only that left, right, bent and straight are all there.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.models.language.text_encoder import require_texts
from hmralign.structures import InputError
from hmralign.structures.counted import counted

_WORD = re.compile(r"[a-z]+")
_LONGEST = 48
"""Words of a sentence that `small` reads; `bag` counts all."""
MOST_VOCABULARY = 20_000
"""Words of a vocabulary."""


@dataclass(frozen=True)
class WordEncoderConfig:
    """Size of an encoder of words."""

    kind: Literal["small", "bag"] = "small"
    width: int = 96
    """Channels, and numbers of a sentence."""
    depth: int = 2
    """Layers of attention over the words of a sentence; `bag` has none."""
    heads: int = 4
    trigrams: int = 2048
    """Vectors that trigrams of letters share by their hash."""

    def __post_init__(self) -> None:
        """Raise InputError for sizes without meaning."""
        if min(self.width, self.depth, self.heads, self.trigrams) < 1 or self.width % self.heads:
            raise InputError("word encoder: sizes must be at least 1, and width a multiple of heads")


def words(sentence: str) -> list[str]:
    """Words of a sentence in lower case; what is no letter of a-z parts them."""
    return _WORD.findall(sentence.lower())


def vocabulary(texts: Iterable[str], least: int = 3) -> tuple[str, ...]:
    """Words that occur at least so often, the commonest first."""
    counts = Counter(word for text in texts for word in words(text))
    return tuple(word for word, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= least)


class WordEncoder(nn.Module):
    """Sentences to vectors.

    `hidden` are words that count as never met, though their trigrams stay; training changes them from step to step, so
    that unknown words do little harm.
    """

    hidden: frozenset[str] = frozenset()

    given: Tensor

    def __init__(self, config: WordEncoderConfig, vocabulary: tuple[str, ...], borrowed: tuple[str, ...] = ()) -> None:
        """`borrowed` are words with a vector that is not trained; see `borrow`."""
        super().__init__()
        for some in (vocabulary, borrowed):
            if len(some) > MOST_VOCABULARY or len(set(some)) != len(some):
                raise InputError(
                    f"a vocabulary has {counted(len(some), 'word')}; expected at most {MOST_VOCABULARY}, all apart"
                )
        self.config, self.vocabulary, self.borrowed = config, vocabulary, borrowed
        self._index = {word: number + 1 for number, word in enumerate(vocabulary)}
        self._given = {word: number + 1 for number, word in enumerate(borrowed)}
        self.register_buffer("given", torch.zeros(len(borrowed) + 1, config.width))  # 0 is any other word
        self.word = nn.Embedding(len(vocabulary) + 1, config.width)  # 0 is any other word
        self.trigram = nn.EmbeddingBag(config.trigrams, config.width, mode="mean")
        layers, longest = (config.depth, _LONGEST) if config.kind == "small" else (0, 1)
        self.place = nn.Parameter(0.1 * torch.randn(longest, config.width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width, config.heads, 2 * config.width, 0.0, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(config.width)

    @property
    def name(self) -> str:
        """`small` or `bag`."""
        return self.config.kind

    @property
    def dims(self) -> int:
        """Numbers of a vector."""
        return self.config.width

    @torch.no_grad()
    def borrow(self, vectors: Float[Tensor, "word dims"]) -> None:
        """Take over vectors of the borrowed words: their main directions, each of unit spread."""
        mean = vectors.mean(0)
        _, spread, directions = torch.linalg.svd(vectors - mean, full_matrices=False)
        count = min(self.config.width, len(spread))
        scale = spread[:count] / len(vectors) ** 0.5
        self.given.zero_()[1:, :count] = (vectors - mean) @ (directions[:count] / scale.clamp(min=1e-6)[:, None]).mT

    def unknown(self, text: str) -> list[str]:
        """Words of a text that neither training nor a borrowed vector knows."""
        return sorted({word for word in words(text) if word not in self._index and word not in self._given})

    def forward(self, texts: list[str]) -> Float[Tensor, "text dims"]:
        """The mean over the words of each sentence. Raises InputError for an empty one."""
        require_texts(texts)
        ordered = self.config.kind == "small"
        split = [words(text)[: _LONGEST if ordered else None] or ["?"] for text in texts]
        distinct = sorted({word for some in split for word in some})
        slot = {word: number for number, word in enumerate(distinct)}
        longest = max(map(len, split))
        index = torch.tensor([[slot[w] for w in some] + [-1] * (longest - len(some)) for some in split])
        index = index.to(self.place.device)  # (T, W)
        absent = index < 0
        x = self._vectors(distinct)[index.clamp(min=0)]  # (T, W, C)
        x = x.masked_fill(absent[..., None], 0.0)
        if ordered:
            x = x + self.place[:longest]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=absent)
        shown = (~absent)[..., None].to(x)
        return self.norm((x * shown).sum(1) / shown.sum(1))

    def _vectors(self, distinct: list[str]) -> Float[Tensor, "word width"]:
        """A vector for each word."""
        index = [0 if word in self.hidden else self._index.get(word, 0) for word in distinct]
        own = torch.tensor(index, device=self.place.device)
        given = torch.tensor([self._given.get(word, 0) for word in distinct], device=own.device)
        parts = [_trigrams(word, self.config.trigrams) for word in distinct]
        offsets = torch.tensor([0, *map(len, parts)]).cumsum(0)[:-1]
        flat = torch.tensor([part for some in parts for part in some])
        spelt = self.trigram(flat.to(own.device), offsets.to(own.device))
        return self.word(own) + torch.where((given > 0)[:, None], self.given[given], spelt)


def _trigrams(word: str, buckets: int) -> list[int]:
    """Buckets of a word's trigrams; `<` and `>` mark its ends."""
    marked = f"<{word}>"
    return [zlib.crc32(marked[i : i + 3].encode()) % buckets for i in range(max(1, len(marked) - 2))]
