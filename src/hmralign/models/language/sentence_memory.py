"""A frozen sentence encoder that says which known statements a sentence is near to, instead of where it lies.

    vector -> minus the mean, whitened by how paraphrases of one statement scatter -> cosine with each statement's mean
           -> softmax over statements

Trained end to end, what reads vectors of some hundred known sentences learns these by heart: sentences in other words
are lost. Within-class whitening (the first half of linear discriminant analysis, Fisher 1936) keeps what paraphrases
share, and the softmax leaves a reader nothing but statements to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.models.language.text_encoder import TextEncoder
from hmralign.structures import InputError

TEMPERATURE = 0.03
FLOOR = 0.2
"""Share of the mean scatter that is added to every direction. Both were chosen on templates of captions left out in
turn; paraphrases kept for tests had no say."""


class KnownSentence(NamedTuple):
    """A sentence, the number of the statement that it makes, and that of its wording among the statement's."""

    text: str
    statement: int
    wording: int


class SentenceMemory(nn.Module):
    """Sentences -> how near they are to each known statement; the numbers of a vector sum to 1.

    `looked_up` are vectors that stand for sentences instead; training fills it to see what it would not know.
    """

    mean: Tensor
    whiten: Tensor
    statements: Tensor

    def __init__(self, encoder: TextEncoder, count: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.zeros(encoder.dims))
        self.register_buffer("whiten", torch.eye(encoder.dims))
        self.register_buffer("statements", torch.zeros(count, encoder.dims))
        self.looked_up: dict[str, Tensor] = {}

    @property
    def name(self) -> str:
        """That of the encoder."""
        return self.encoder.name

    @property
    def sha256(self) -> str:
        """That of the encoder, empty where it says none."""
        return getattr(self.encoder, "sha256", "")

    @property
    def dims(self) -> int:
        """Number of known statements."""
        return len(self.statements)

    def forward(self, texts: list[str]) -> Float[Tensor, "text statements"]:
        """Shares of statements. Raises InputError for an empty text."""
        new = [text for text in texts if text not in self.looked_up]
        found = dict(zip(new, self._nearness(self.encoder(new)), strict=True)) if new else {}
        return torch.stack([self.looked_up[t] if t in self.looked_up else found[t] for t in texts])

    def _nearness(self, vectors: Float[Tensor, "text dims"]) -> Float[Tensor, "text statements"]:
        return (self._whitened(vectors) @ self.statements.mT / TEMPERATURE).softmax(-1)

    def _whitened(self, vectors: Float[Tensor, "text dims"]) -> Float[Tensor, "text dims"]:
        return nn.functional.normalize((vectors - self.mean) @ self.whiten, dim=-1)

    @torch.no_grad()
    def learn(self, vectors: Float[Tensor, "n dims"], labels: Int[Tensor, " n"]) -> None:
        """Fit the whitening and the statements' means. Raises InputError for a statement without a sentence."""
        count = len(self.statements)
        if (missing := sorted(set(range(count)) - set(labels.tolist()))) or int(labels.max()) >= count:
            raise InputError(f"statement {missing[0] if missing else int(labels.max())} has no sentence to be known by")
        means = torch.zeros_like(self.statements).index_reduce_(0, labels, vectors, "mean", include_self=False)
        apart = vectors - means[labels]
        scatter = apart.mT @ apart / len(vectors)
        floor = FLOOR * float(scatter.diagonal().mean()) + 1e-9
        inverse = torch.linalg.inv(scatter + floor * torch.eye(len(scatter)))
        self.mean.copy_(vectors.mean(0))
        self.whiten.copy_(
            torch.linalg.cholesky(inverse) * floor**0.5
        )  # the scale is lost in `_whitened`: keep it near 1
        near = torch.zeros_like(self.statements).index_add_(0, labels, self._whitened(vectors))
        self.statements.copy_(nn.functional.normalize(near, dim=-1))

    @torch.no_grad()
    def unknown_wordings(self, known: Sequence[KnownSentence]) -> dict[str, Tensor]:
        """The vector that each known sentence would have if its wording had been left out of what was learned.

        Wordings are left out in turn, of all statements at once: of "the left arm is bent" the nearest one would be
        "the right arm is bent". Raises InputError where a statement has one wording alone.
        """
        vectors, labels = self.encoder([k.text for k in known]), torch.tensor([k.statement for k in known])
        wordings = torch.tensor([k.wording for k in known])
        out: dict[str, Tensor] = {}
        for wording in sorted(set(wordings.tolist())):
            kept = wordings != wording
            if len(set(labels[kept].tolist())) < self.dims:
                raise InputError(f"without wording {wording} some statements have no sentence; expected two of each")
            other = SentenceMemory(self.encoder, self.dims)
            other.learn(vectors[kept], labels[kept])
            left_out = (~kept).nonzero()[:, 0].tolist()
            out |= {known[i].text: v for i, v in zip(left_out, other._nearness(vectors[left_out]), strict=True)}
        return out
