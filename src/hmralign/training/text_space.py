"""Training of the text space: our captions and the poses they are of (eq. 3 of the vision-language paper).

    symmetric InfoNCE(text, pose) + reconstruction of the pose from the text's latent, through the frozen pose decoder

Every pose comes with its mirror image, each with captions of its own: a batch always holds the pair that differs by
left and right alone. Sentences are left out at random, for people describe less than a captioner, and words are hidden.
Departures: eq. 3 asks one direction only, and normalises nothing; here both directions, and unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.pose_file import Split
from hmralign.data.synthetic.poses import PoseMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.language.caption import caption
from hmralign.language.phrases import Wording, paraphrases, templates
from hmralign.language.statements import STATEMENTS
from hmralign.models.language.checkpoint import load_pose_space, save_text_space
from hmralign.models.language.encoder_folder import FolderEncoder, load_clip_encoder, load_sentence_encoder
from hmralign.models.language.pose_space import mirrored_rotmats
from hmralign.models.language.sentence_memory import KnownSentence, SentenceMemory
from hmralign.models.language.text_encoder import TextEncoder, sentences
from hmralign.models.language.text_space import TextSpace, TextSpaceConfig
from hmralign.models.language.word_encoder import WordEncoder, WordEncoderConfig, vocabulary
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve, five_decimals
from hmralign.training.falling_run import falling_loop
from hmralign.training.loop import Loop
from hmralign.training.pose_draws import drawn_poses, pose_source, pose_sources
from hmralign.training.pose_vqvae import reconstruction_terms
from hmralign.training.step import Part

_RECONSTRUCTION = {"rotation": 20.0, "joints": 100.0}
"""As the pose space was trained."""


@dataclass(frozen=True)
class TextSpaceTrainingConfig:
    """One text space."""

    pose_space: str = "pose.safetensors"
    """Checkpoint of the pose space that texts are mapped into; it does not change."""
    model: TextSpaceConfig = field(default_factory=TextSpaceConfig)
    encoder: Literal["words", "sentence", "clip"] = "words"
    """`words` is trained here; the others are frozen."""
    words: WordEncoderConfig = field(default_factory=WordEncoderConfig)
    encoder_folder: str | None = None
    """Folder of `sentence` (without it the extra `[language]`) or `clip`."""
    memory: bool = False
    """`sentence`, `clip`: sentences are read by the known statements that they are near to, so that other words do."""
    unknown_share: float = 0.75
    """`memory`: share of steps that see sentences as if their wordings were not known."""
    borrowed_words: int = 0
    """`words` takes the vectors of so many common words, and of those of training, from the sentence encoder."""
    dropped_words: float = 0.0
    """`words`: share of the words of a sentence that are left out; sides stay."""
    poses: PoseMix = field(default_factory=PoseMix)
    views: ViewMix = field(default_factory=ViewMix)
    pose_file: str | None = None
    """Motion-capture poses; without it all poses come from the shipped prior and from postures."""
    num_poses: int = 20_000
    """Poses; each also comes mirrored."""
    captions: int = 3
    """Captions of each pose and of each mirrored one."""
    said_share: float = 0.6
    """At least this share of the sentences of a caption is used."""
    hidden_words: float = 0.1
    """Share of the vocabulary that a step does not know."""
    reconstruction_weight: float = 1.0
    """Weight of the pose's reconstruction from the text beside the contrastive loss."""
    batch_size: int = 128
    """Poses of a step; with their mirror images twice as many pairs."""
    steps: int = 3000
    """Optimiser steps."""
    learning_rate: float = 1e-3
    """Peak, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 1e-2
    ema_decay: float = 0.995
    save_every: int = 500
    """Steps between states to resume from."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.steps, self.save_every, self.captions) < 1 or min(self.batch_size, self.num_poses) < 2:
            raise InputError(
                "text space training: steps, save_every and captions must be at least 1, batch_size and num_poses at "
                "least 2"
            )
        shares = (self.hidden_words, self.dropped_words)
        if not 0 < self.said_share <= 1 or not all(0 <= share < 1 for share in shares):
            raise InputError(
                "text space training: said_share must be in 0..1 and not 0, hidden_words and dropped_words in 0..1 and "
                "not 1"
            )
        if not 0 <= self.unknown_share <= 1 or (self.memory and self.encoder == "words"):
            raise InputError(
                "text space training: unknown_share must be in 0..1, and a memory needs a sentence encoder"
            )
        if self.reconstruction_weight < 0 or self.borrowed_words < 0:
            raise InputError("text space training: reconstruction_weight and borrowed_words must not be negative")


@dataclass(frozen=True)
class TextPosePairs:
    """Poses (`cam` axes), the second half the mirror images of the first, and captions of each."""

    rotmats: Float[Tensor, "n 24 3 3"]
    texts: tuple[tuple[str, ...], ...]


def text_pose_pairs(
    body: BodyModel, rotmats: Float[Tensor, "n 24 3 3"], captions: int, wording: Wording, seed: int
) -> TextPosePairs:
    """Poses of which something can be said, with their mirror images, described from bodies of random shape."""
    betas = torch.randn(len(rotmats), body.num_betas, generator=seeded(seed, "shapes")).clamp(-3, 3)
    both = torch.cat([rotmats, mirrored_rotmats(rotmats)])
    _, joints = forward_kinematics(rest_joints(body, torch.cat([betas, betas])), both, body.parents)
    texts = [
        [d.text() for d in caption(joints[:, :NUM_JOINTS], seeded(seed, "captions", number), both, wording=wording)]
        for number in range(captions)
    ]
    of_pose = [tuple(text for text in some if text) for some in zip(*texts, strict=True)]
    said = torch.tensor([bool(some) for some in of_pose]).unflatten(0, (2, -1)).all(0)
    kept = [*said.nonzero()[:, 0].tolist()]
    index = [*kept, *(i + len(rotmats) for i in kept)]
    return TextPosePairs(both[index], tuple(of_pose[i] for i in index))


def training_pairs(config: TextSpaceTrainingConfig, split: Split = "train") -> TextPosePairs:
    """The pairs of a configuration. Raises InputError as the pose file does."""
    source = pose_source(config.poses, config.pose_file, split)
    rotmats = drawn_poses(source, config.views, config.num_poses, seeded(config.seed, "poses", split))
    seed = derived_seed(config.seed, "captions", split)
    return text_pose_pairs(load_free_body("3k5"), rotmats, config.captions, "say", seed)


def train_text_space(config: TextSpaceTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> TextSpace:
    """Train, resuming from the folder; returns the averaged networks on the CPU, in eval mode.

    Writes `state.pt` and `curve.jsonl`. Raises InputError for a pose space, pose file, encoder or states that are no
    use; RuntimeError where the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    body = load_free_body("3k5")
    poses = load_pose_space(config.pose_space, body.skeleton_hash)
    pairs = training_pairs(config)
    torch.manual_seed(derived_seed(config.seed, "weights"))
    space = TextSpace(config.model, poses, chosen_encoder(config, pairs.texts))
    if space.own_encoder is None:
        distinct = {s for some in pairs.texts for text in some for s in space.pieces(text)}
        space.reader.start_from(space.encoder(sorted(distinct)))
    wordings = _unknown_wordings(space)
    latents = torch.cat([poses.encode(some) for some in pairs.rotmats.split(5000)])
    moved = (body.to(torch.device(device)), pairs.rotmats.to(device), latents.to(device))

    def parts(model: TextSpace, step: int) -> Iterator[Part]:
        draw = seeded(config.seed, "step", step)
        if isinstance(model.own_encoder, SentenceMemory):
            hide = float(torch.rand(1, generator=draw)) < config.unknown_share
            model.own_encoder.looked_up = _drawn_wordings(wordings, draw) if hide else {}
        yield _part(model, config, pairs.texts, *moved, draw)

    curve = Curve(
        folder / "curve.jsonl", {}, ("loss", "contrast", "found"), "cpu_seconds", rounded=five_decimals, said_every=500
    )
    averaged = Loop(
        space, parts, falling_loop(config, device, fused=True), state=folder / "state.pt", curve=curve
    ).run()
    assert isinstance(averaged, TextSpace)
    if isinstance(averaged.own_encoder, SentenceMemory):
        averaged.own_encoder.looked_up = {}
    return averaged.requires_grad_(False)


def chosen_encoder(config: TextSpaceTrainingConfig, texts: Sequence[Sequence[str]]) -> TextEncoder:
    """What encodes sentences; one of words knows those of the texts. Raises InputError as the loaders of folders."""
    if config.encoder != "words":
        large = _folder_encoder(config)
        return _filled_memory(large) if config.memory else large
    known = vocabulary(text for some in texts for text in some)
    if config.borrowed_words == 0:
        return WordEncoder(config.words, known)
    large = load_sentence_encoder(config.encoder_folder)
    borrowed = tuple(dict.fromkeys([*known, *large.common_words(config.borrowed_words)]))
    encoder = WordEncoder(config.words, known, borrowed)
    encoder.borrow(large(list(borrowed)))
    return encoder


def _folder_encoder(config: TextSpaceTrainingConfig) -> FolderEncoder:
    if config.encoder == "sentence":
        return load_sentence_encoder(config.encoder_folder)
    if config.encoder_folder is None:
        raise InputError("text space training: the encoder clip needs encoder_folder")
    return load_clip_encoder(config.encoder_folder)


@lru_cache(maxsize=1)
def known_sentences() -> tuple[KnownSentence, ...]:
    """Every sentence that a memory learns, as texts are read: in lower case, without a full stop.

    Those that captions for training are made of, then further wordings of the same statements.
    """
    said = [statement for statement in STATEMENTS if statement.said]
    return tuple(
        KnownSentence(" ".join(text.format_map(dict(statement.slots)).lower().split()), number, wording)
        for number, statement in enumerate(said)
        for wording, text in enumerate((*templates()[statement.family]["say"], *paraphrases()[statement.family]))
    )


def _filled_memory(encoder: FolderEncoder) -> SentenceMemory:
    known = known_sentences()
    memory = SentenceMemory(encoder, 1 + max(k.statement for k in known))
    memory.learn(encoder([k.text for k in known]), torch.tensor([k.statement for k in known]))
    return memory


def _unknown_wordings(space: TextSpace) -> dict[str, Tensor]:
    """Sentences of captions -> what wordings of the same statement would be read as if they were not known, (w, D)."""
    memory, known = space.own_encoder, known_sentences()
    if not isinstance(memory, SentenceMemory):
        return {}
    vectors = memory.unknown_wordings(known)
    same: dict[int, list[Tensor]] = {}
    for sentence in known:
        same.setdefault(sentence.statement, []).append(vectors[sentence.text])
    return {sentence.text: torch.stack(same[sentence.statement]) for sentence in known}


def _drawn_wordings(wordings: dict[str, Tensor], draw: torch.Generator) -> dict[str, Tensor]:
    """One of the wordings, drawn for each sentence."""
    chosen = torch.rand(len(wordings), generator=draw).tolist()
    return {text: some[int(c * len(some))] for c, (text, some) in zip(chosen, wordings.items(), strict=True)}


def _part(
    model: TextSpace,
    config: TextSpaceTrainingConfig,
    texts: Sequence[Sequence[str]],
    body: BodyModel,
    rotmats: Float[Tensor, "n 24 3 3"],
    latents: Float[Tensor, "n latent"],
    draw: torch.Generator,
) -> Part:
    half = len(texts) // 2
    first = torch.randperm(half, generator=draw)[: config.batch_size]
    index = torch.cat([first, first + half])
    said = [_drawn_text(texts[int(i)], config.said_share, draw) for i in index]
    if isinstance(model.own_encoder, WordEncoder):
        said = _with_dropped_words(said, config.dropped_words, draw)
        model.own_encoder.hidden = _hidden_words(model.own_encoder.vocabulary, config.hidden_words, draw)
    text_latents, text_features = model.both(said)
    index = index.to(latents.device)
    logits = text_features @ model.latent_features(latents[index]).mT / model.log_temperature.exp()
    terms = {"contrast": symmetric_contrast(logits)}
    if config.reconstruction_weight > 0:
        made = model.poses.decode(text_latents)
        terms |= reconstruction_terms(body, made, rotmats[index], with_mesh=False)
    weights = {name: config.reconstruction_weight * weight for name, weight in _RECONSTRUCTION.items()}
    found = (logits.detach().argmax(1) == torch.arange(len(logits), device=logits.device)).float().mean()
    return Part(terms, weights, figures={"contrast": float(terms["contrast"].detach().mean()), "found": float(found)})


def symmetric_contrast(logits: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
    """InfoNCE of rows and of columns, halved; row i belongs to column i (Radford et al. 2021, fig. 3)."""
    own = torch.arange(len(logits), device=logits.device)
    ways = [torch.nn.functional.cross_entropy(x, own, reduction="none") for x in (logits, logits.mT)]
    return (ways[0] + ways[1]) / 2


def _drawn_text(texts: Sequence[str], least: float, draw: torch.Generator) -> str:
    """One of the captions of a pose, with some of its sentences left out; at least one stays."""
    text = texts[int(torch.randint(len(texts), (1,), generator=draw))]
    parts = sentences(text)
    share = least + (1 - least) * float(torch.rand(1, generator=draw))
    count = max(1, round(share * len(parts)))
    kept = torch.randperm(len(parts), generator=draw)[:count].sort().values.tolist()
    return ". ".join(parts[i] for i in kept)


def _with_dropped_words(texts: Sequence[str], share: float, draw: torch.Generator) -> list[str]:
    """Texts without some of their words; left, right, and full stops stay, and a sentence keeps at least its sides."""
    if share == 0:
        return list(texts)
    split = [text.split(" ") for text in texts]
    drop = (torch.rand(sum(map(len, split)), generator=draw) < share).tolist()
    chance = iter(drop)
    kept = [[w for w in some if not next(chance) or w.strip(".") in ("left", "right") or "." in w] for some in split]
    return [" ".join(some) or text for some, text in zip(kept, texts, strict=True)]


def _hidden_words(words: tuple[str, ...], share: float, draw: torch.Generator) -> frozenset[str]:
    hidden = (torch.rand(len(words), generator=draw) < share).tolist()
    return frozenset(word for word, h in zip(words, hidden, strict=True) if h)


def train_text_space_file(config: TextSpaceTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """`train_text_space`, written with its configuration into the folder. Errors as there."""
    space = train_text_space(config, folder, device)
    write_training_config(folder / "config.yaml", config)
    skeleton = load_free_body("3k5").skeleton_hash
    return save_text_space(folder / "pose-text.safetensors", space, skeleton, sources=pose_sources(config.pose_file))
