"""Texts and poses in one space: sentences -> vectors -> what they say together -> the latent of a pose.

    name in code          symbol in the paper
    features of a text    f_c
    text_latents          E_t(f_c)
    PoseSpace.encode      E_p(theta)
    text_pose_loss        L_cos (eq. 7)

Source: eqs. 3 and 7 of "Adapting Human Mesh Recovery with Vision-Language Feedback" (III.C, III.D).

Departures. The paper gives one vector per text to E_t; here a text's sentences are encoded one by one and read
together, because one vector for eighty words forgets which side was bent. Similarity is taken of unit vectors that a
small head makes of both latents: a text says little of many directions of the pose latent, and their plain cosine,
which `head: none` gives, is ruled by them. Eq. 7 calls the squared cosine a loss, which is least where text and pose
have nothing to do with each other; `one_minus_cosine` is what is meant, the printed form is kept under its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hmralign.models.context import ResidualMlp
from hmralign.models.language.encoder_folder import FolderEncoder
from hmralign.models.language.pose_space import PoseSpace
from hmralign.models.language.text_encoder import TextEncoder, sentences
from hmralign.structures import InputError

Form = Literal["one_minus_cosine", "squared_cosine"]


@dataclass(frozen=True)
class TextSpaceConfig:
    """Size of what is trained between an encoder of sentences and a pose space."""

    width: int = 192
    """Channels."""
    depth: int = 2
    """Layers of attention over the sentences of a text; 0 takes the mean of their vectors."""
    heads: int = 4
    """Heads of attention."""
    shared: int = 192
    """Numbers of the vectors that are compared."""
    head: Literal["learned", "none"] = "learned"
    """`none` compares the latents themselves, as eq. 3 is printed."""
    pieces: Literal["sentences", "whole"] = "sentences"
    """What is encoded at once; `whole` gives the encoder a text without its full stops."""

    def __post_init__(self) -> None:
        """Raise InputError for sizes without meaning."""
        if min(self.width, self.heads, self.shared) < 1 or self.depth < 0 or self.width % self.heads:
            raise InputError("text space: sizes must be at least 1, and width a multiple of heads")


class TextReader(nn.Module):
    """Vectors of a text's sentences -> one vector. The order of sentences does not matter."""

    def __init__(self, dims: int, config: TextSpaceConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(dims, config.width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width, config.heads, 2 * config.width, 0.0, batch_first=True, norm_first=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    @torch.no_grad()
    def start_from(self, vectors: Float[Tensor, "n dims"]) -> None:
        """Let the first layer whiten such vectors: for most encoders left and right are nearly the same word.

        Directions of less than a tenth of the largest spread are not blown up further: a sentence in other words
        differs in them by chance.
        """
        mean = vectors.mean(0)
        _, spread, directions = torch.linalg.svd(vectors - mean, full_matrices=False)
        count = min(len(self.embed.weight), len(spread))
        scale = spread[:count] / len(vectors) ** 0.5
        self.embed.weight.zero_()[:count] = directions[:count] / scale.clamp(min=0.1 * float(scale[0]))[:, None]
        self.embed.bias.copy_(-self.embed.weight @ mean)

    def forward(
        self, vectors: Float[Tensor, "text sentence dims"], there: Bool[Tensor, "text sentence"]
    ) -> Float[Tensor, "text width"]:
        """Attend, then take the mean over the sentences that are there."""
        x = self.embed(vectors)  # (T, S, C)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~there)
        weight = there[..., None].to(x)
        return self.norm((x * weight).sum(1) / weight.sum(1))


def _head(inputs: int, config: TextSpaceConfig) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, config.width),
        ResidualMlp(config.width, 2 * config.width),
        ResidualMlp(config.width, 2 * config.width),
        nn.LayerNorm(config.width),
        nn.Linear(config.width, config.shared),
    )


class TextSpace(nn.Module):
    """A pose space that texts are mapped into. Encoders with weights of their own are called, not held.

    `encoder` is an `nn.Module` where it is trained with the space (`small`, `bag`), any `TextEncoder` otherwise.
    """

    def __init__(self, config: TextSpaceConfig, poses: PoseSpace, encoder: TextEncoder) -> None:
        super().__init__()
        self.config, self.poses = config, poses
        self._encoder = None if isinstance(encoder, nn.Module) else encoder
        self.own_encoder = encoder if isinstance(encoder, nn.Module) else None
        latent = poses.config.latent
        self.reader = TextReader(encoder.dims, config)
        self.to_latent = nn.Sequential(ResidualMlp(config.width, 2 * config.width), nn.Linear(config.width, latent))
        learned = config.head == "learned"
        self.pose_head = _head(latent, config) if learned else nn.Identity()
        self.text_head = _head(config.width, config) if learned else nn.Identity()
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())

    @property
    def encoder(self) -> TextEncoder:
        """What encodes sentences."""
        encoder = self.own_encoder if self._encoder is None else self._encoder
        assert encoder is not None
        return encoder  # pyright: ignore[reportReturnType]

    def read(self, texts: Sequence[str]) -> Float[Tensor, "text width"]:
        """What each text says, before any space. Every distinct sentence is encoded once.

        Raises InputError for no text, a text without words, and one that is too long.
        """
        if not texts:
            raise InputError("there are no texts to encode; expected at least one")
        split = [self.pieces(text) for text in texts]
        distinct = sorted({sentence for some in split for sentence in some})
        slot = {sentence: number for number, sentence in enumerate(distinct)}
        longest = max(map(len, split))
        index = torch.tensor([[slot[s] for s in some] + [-1] * (longest - len(some)) for some in split])
        index = index.to(self.log_temperature.device)  # (T, S)
        vectors = self.encoder(distinct).to(index.device)[index.clamp(min=0)]  # (T, S, D)
        return self.reader(vectors, index >= 0)

    def pieces(self, text: str) -> list[str]:
        """What of a text is encoded at once. Errors as `read`."""
        found = sentences(text)
        return found if self.config.pieces == "sentences" else [" ".join(found)]

    def most_tokens(self, text: str) -> int | None:
        """Tokens of the longest piece of a text; None for encoders that read any length. Errors as `read`."""
        folder = self.folder_encoder
        return None if folder is None else max(folder.token_counts(self.pieces(text)))

    @property
    def folder_encoder(self) -> FolderEncoder | None:
        """The encoder from a folder, also where a memory stands before it; None for one of words."""
        encoder = getattr(self.encoder, "encoder", self.encoder)
        return encoder if isinstance(encoder, FolderEncoder) else None

    def text_latents(self, texts: Sequence[str]) -> Float[Tensor, "text latent"]:
        """The pose latent that a text asks for; `poses.decode` makes a pose of it. Errors as `read`."""
        return self.to_latent(self.read(texts))

    def both(self, texts: Sequence[str]) -> tuple[Float[Tensor, "text latent"], Float[Tensor, "text shared"]]:
        """Latents and unit vectors of texts. Errors as `read`."""
        said = self.read(texts)
        latents = self.to_latent(said)
        return latents, _unit(self.text_head(said) if self.config.head == "learned" else latents)

    def text_features(self, texts: Sequence[str]) -> Float[Tensor, "text shared"]:
        """Unit vectors of texts. Errors as `read`."""
        return self.both(texts)[1]

    def pose_features(self, rotmats: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch shared"]:
        """Unit vectors of poses, differentiable. `rotmats` are parent-relative, the root first, in `cam` axes."""
        return self.latent_features(self.poses.encode(rotmats))

    def latent_features(self, latents: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch shared"]:
        """Unit vectors of poses from their latents."""
        return _unit(self.pose_head(latents))

    def text_pose_loss(
        self,
        rotmats: Float[Tensor, "n 24 3 3"],
        text_features: Float[Tensor, "#n shared"],
        form: Form = "one_minus_cosine",
    ) -> Float[Tensor, " n"]:
        """How far each pose is from its text, 0 to 2; differentiable in the rotations.

        `squared_cosine` is eq. 7 as printed, 0 to 1 and least where the two are orthogonal. Raises InputError for
        another form.
        """
        cosine = (self.pose_features(rotmats) * text_features).sum(-1)
        if form == "one_minus_cosine":
            return 1 - cosine
        if form == "squared_cosine":
            return cosine.square()
        raise InputError(f"'{form}' is no form of the loss; expected one_minus_cosine or squared_cosine")


def _unit(x: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch dims"]:
    return nn.functional.normalize(x, dim=-1)


@dataclass(frozen=True)
class LatentTextGuide:
    """A text as a guide of poses: its loss is the cosine distance in a text space.

    `text_features` has one row for all bodies, or one for each.
    """

    space: TextSpace
    text_features: Float[Tensor, "texts shared"]
    form: Form = "one_minus_cosine"

    @staticmethod
    def of_text(space: TextSpace, text: str) -> LatentTextGuide:
        """The guide of one text. Errors as `TextSpace.read`."""
        with torch.no_grad():
            return LatentTextGuide(space, space.text_features([text]))

    def loss(self, joints: Float[Tensor, "n 24 3"], rotmats: Float[Tensor, "n 24 3 3"]) -> Float[Tensor, " n"]:
        """How far each body is from the text; the joints are not looked at."""
        return self.space.text_pose_loss(rotmats, self.text_features, self.form)
