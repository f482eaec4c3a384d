"""Models of the `transformers` library from a folder of the user's: nothing is fetched, nothing is unpickled.

A folder is what `save_pretrained` writes: config.json, preprocessor_config.json, model.safetensors. The weights are
read here, from that one file, and handed over; so neither an adapter, nor shards, nor a name in the configuration can
lead the library to other files or to a hub, and the recorded hash is that of what was loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hmralign.storage.json_file import read_json
from hmralign.structures import InputError
from hmralign.structures.counted import counted

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NOT_NEEDED = ("num_batches_tracked", "denoising_class_embed")
"""Tensors that only training uses; some checkpoints lack them."""


@dataclass(frozen=True)
class Architecture:
    """A kind of model that is accepted: its name in config.json, that of its backbone, and its classes."""

    name: str
    backbone: str
    config_class: Any
    model_class: Any
    processor_class: Any


@dataclass(frozen=True)
class LocalModel:
    """A model ready for use, in float32, and the SHA-256 of its weights."""

    model: torch.nn.Module
    processor: Any
    config: Any
    sha256: str


def require_transformers() -> Any:
    """The library. Raises InputError that says how to install it."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "this detector needs the package transformers (5.5 or newer): run `pip install 'hmralign[vitpose]'`"
        ) from error
    if tuple(int(v) for v in transformers.__version__.split(".")[:2]) < (5, 5):
        raise InputError(f"transformers is {transformers.__version__}; expected 5.5 or newer")
    return transformers


def load_local_model(folder: Path, architectures: tuple[Architecture, ...], device: str | torch.device) -> LocalModel:
    """Read a model. Raises InputError naming the folder and what is wrong or missing."""
    _require_files(folder)
    architecture = _architecture(folder, architectures)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{folder / WEIGHTS}' cannot be read as safetensors: {_one_line(error)}") from error
    try:
        with quiet():
            config = architecture.config_class.from_pretrained(str(folder), local_files_only=True)
            processor = architecture.processor_class.from_pretrained(str(folder), local_files_only=True)
            model, info = architecture.model_class.from_pretrained(
                None, config=config, state_dict=tensors, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # a configuration that does not fit its weights fails in many ways
        raise InputError(f"'{folder}' holds no usable {architecture.name} model: {_one_line(error)}") from error
    # A tensor that is missing would be filled with random numbers, and answers would look like answers.
    missing = sorted(name for name in info["missing_keys"] if not any(part in name for part in _NOT_NEEDED))
    if missing:
        raise InputError(
            f"'{folder / WEIGHTS}' lacks {counted(len(missing), 'tensor')} of its model, for example '{missing[0]}'"
        )
    return LocalModel(model.to(device).eval(), processor, config, file_hash(folder / WEIGHTS))


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read piece by piece: weights may be gigabytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _require_files(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder; expected one with {CONFIG}, {PREPROCESSOR} and {WEIGHTS}")
    missing = [name for name in (CONFIG, PREPROCESSOR, WEIGHTS) if not (folder / name).is_file()]
    pickles = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
    if WEIGHTS in missing and pickles:
        raise InputError(
            f"'{folder}' has its weights in '{pickles[0]}', a pickle, which is not read; expected {WEIGHTS} in one file"
        )
    if missing:
        raise InputError(f"'{folder}' lacks {', '.join(missing)}")


def _architecture(folder: Path, architectures: tuple[Architecture, ...]) -> Architecture:
    """What config.json says, if it is accepted; a backbone that the library would fetch is not."""
    try:
        content = read_json(folder / CONFIG, "the configuration of a model")
        name, backbone = content["model_type"], content["backbone_config"]["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{folder / CONFIG}' does not name a model_type and that of its backbone_config") from error
    wanted = " or ".join(a.name for a in architectures)
    for architecture in architectures:
        if (name, backbone) == (architecture.name, architecture.backbone):
            if content.get("backbone"):
                raise InputError(
                    f"'{folder / CONFIG}' names the backbone '{content['backbone']}', which is not fetched"
                )
            return architecture
    raise InputError(f"'{folder}' holds a model of type '{name}' on '{backbone}'; expected {wanted}")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars and reports: what matters of them is raised."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
