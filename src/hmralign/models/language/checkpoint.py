"""Checkpoints of pose spaces and text spaces: safetensors weights with a JSON header, bound to a body skeleton.

Nothing in them is executed. A text space holds its pose space, and its encoder where that was trained with it; of an
encoder from a folder it holds the hash, and another one is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TypeVar, get_args, get_type_hints

from hmralign.models.checkpoint import (
    FORMAT_VERSION,
    header_values,
    opened_weights,
    require_header,
    require_known_fields,
    write_weights,
)
from hmralign.models.fitted_weights import fitted
from hmralign.models.language.encoder_folder import load_clip_encoder, load_sentence_encoder
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig
from hmralign.models.language.sentence_memory import SentenceMemory
from hmralign.models.language.text_encoder import TextEncoder
from hmralign.models.language.text_space import TextSpace, TextSpaceConfig
from hmralign.models.language.word_encoder import WordEncoder, WordEncoderConfig
from hmralign.structures import InputError
from hmralign.structures.errors import shown

SHIPPED_TEXT_SPACE = "pose-text"
"""Name of the text space that comes with the package."""

_LARGEST = 16384
"""No size in a header is larger; bounds what a forged one can make us build."""
_DEEPEST = 64
"""No network in one is deeper: layers take time to build even without weights."""

Config = TypeVar("Config")


def save_pose_space(
    path: str | Path, space: PoseSpace, skeleton_hash: str, *, half: bool = True, sources: tuple[str, ...] = ()
) -> Path:
    """Write a pose space atomically. Raises InputError for weights that are not finite as stored."""
    header = {
        "format_version": str(FORMAT_VERSION),
        "kind": "pose_space",
        "config": json.dumps(asdict(space.config)),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(Path(path), space.state_dict(), header, half=half)


def save_text_space(
    path: str | Path, space: TextSpace, skeleton_hash: str, *, half: bool = True, sources: tuple[str, ...] = ()
) -> Path:
    """Write a text space atomically. Raises InputError for weights that are not finite as stored."""
    own, encoder = space.own_encoder, space.encoder
    header = {
        "format_version": str(FORMAT_VERSION),
        "kind": "text_space",
        "config": json.dumps(asdict(space.config)),
        "pose_space": json.dumps(asdict(space.poses.config)),
        "encoder": json.dumps(
            {"name": encoder.name, "dims": encoder.dims, "sha256": getattr(encoder, "sha256", "")}
            | {"memory": isinstance(own, SentenceMemory)}
        ),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    if isinstance(own, WordEncoder):
        header |= {"words": json.dumps(asdict(own.config)), "vocabulary": json.dumps(_vocabulary(own))}
    return write_weights(Path(path), space.state_dict(), header, half=half)


def text_space_path(name_or_path: str | Path) -> Path:
    """Where a text space lies: the shipped one by its name "pose-text", anything else by path."""
    if str(name_or_path) == SHIPPED_TEXT_SPACE:
        return Path(str(files("hmralign.models") / "weights" / f"{SHIPPED_TEXT_SPACE}.safetensors"))
    return Path(name_or_path)


def load_text_space(
    name_or_path: str | Path, skeleton_hash: str, encoder_folder: str | Path | None = None
) -> TextSpace:
    """Read a text space for the given skeleton, in eval mode and float32.

    `encoder_folder` is for spaces whose encoder is not their own; of a sentence encoder the extra's is the default.
    Raises InputError, naming the file, when it is missing, damaged, of another format or kind, made for another
    skeleton or encoder, or when its weights do not fit or are not finite; and as the loaders of encoders.
    """
    path = text_space_path(name_or_path)
    with opened_weights(path, (SHIPPED_TEXT_SPACE,)) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    require_header(path, header, "text_space", skeleton_hash)
    config = _checked(path, TextSpaceConfig, header_mapping(path, header, "config"))
    poses = pose_space_config(path, header_mapping(path, header, "pose_space"))
    encoder = _encoder(path, header, encoder_folder)

    def bare() -> TextSpace:
        if not isinstance(encoder, WordEncoder):
            return TextSpace(config, PoseSpace(poses), encoder)
        return TextSpace(config, PoseSpace(poses), WordEncoder(encoder.config, encoder.vocabulary, encoder.borrowed))

    return fitted(path, lambda: TextSpace(config, PoseSpace(poses), encoder), tensors, bare)


def _encoder(path: Path, header: dict[str, str], folder: str | Path | None) -> TextEncoder:
    said = header_mapping(path, header, "encoder")
    if said.get("name") in ("small", "bag"):
        config = _checked(path, WordEncoderConfig, header_mapping(path, header, "words"))
        known = header_mapping(path, header, "vocabulary")
        return WordEncoder(config, *(_words(path, known.get(name)) for name in ("words", "borrowed")))
    if said.get("name") == "sentence":
        encoder = load_sentence_encoder(folder)
    elif said.get("name") == "clip" and folder is not None:
        encoder = load_clip_encoder(folder)
    else:
        raise InputError(f"{path}: its encoder is {shown(said.get('name'))}; expected its folder, for one of CLIP")
    if encoder.sha256 != said.get("sha256"):
        raise InputError(f"{path}: was trained with another encoder than the one of {encoder.folder}")
    if said.get("memory") is not True:
        return encoder
    if type(said.get("dims")) is not int or not 1 <= said["dims"] <= _LARGEST:
        raise InputError(f"{path}: its memory has {shown(said.get('dims'))} statements, expected 1..{_LARGEST}")
    return SentenceMemory(encoder, said["dims"])


def _vocabulary(encoder: WordEncoder) -> dict[str, tuple[str, ...]]:
    return {"words": encoder.vocabulary, "borrowed": encoder.borrowed}


def _words(path: Path, known: object) -> tuple[str, ...]:
    if not isinstance(known, list) or not all(isinstance(word, str) for word in known):
        raise InputError(f"{path}: its vocabulary is no list of words")
    return tuple(known)


def _checked(path: Path, kind: type[Config], values: dict) -> Config:
    """A configuration of the header: words where there are choices, else whole numbers. Nothing in it is trusted."""
    require_known_fields(path, kind, values)
    hints = get_type_hints(kind)
    for name, value in values.items():
        choices, most = get_args(hints[name]), _DEEPEST if name == "depth" else _LARGEST
        good = value in choices if choices else type(value) is int and 0 <= value <= most
        if not good:
            expected = " or ".join(choices) if choices else f"a whole number in 0..{most}"
            raise InputError(f"{path}: configuration says {name} = {shown(repr(value))}, expected {expected}")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{path}: configuration: {error}") from error


def load_pose_space(path: str | Path, skeleton_hash: str) -> PoseSpace:
    """Read a pose space for the given skeleton, in eval mode and float32.

    Raises InputError, naming the file, when it is missing, damaged, of another format or kind, made for another
    skeleton, or when its weights do not fit or are not finite.
    """
    path = Path(path)
    with opened_weights(path, ()) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    require_header(path, header, "pose_space", skeleton_hash)
    config = pose_space_config(path, header_mapping(path, header, "config"))
    return fitted(path, lambda: PoseSpace(config), tensors)


def header_mapping(path: Path, header: dict[str, str], name: str) -> dict:
    """A mapping of the header. Raises InputError where it is none."""
    return header_values(path, header.get(name, ""), name)


def pose_space_config(path: Path, values: dict) -> PoseSpaceConfig:
    """Configuration of the header. Nothing in it is trusted."""
    return _checked(path, PoseSpaceConfig, values)
