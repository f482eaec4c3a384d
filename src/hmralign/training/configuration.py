"""Training configurations as YAML: nested dataclasses, every key checked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from hmralign.storage.whole_file import write_whole
from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import InputError
from hmralign.training.base_configuration import BaseTrainingConfig

Config = TypeVar("Config")


def read_training_config(path: str | Path) -> BaseTrainingConfig:
    """Read a configuration. Raises InputError naming the file and the key that is unknown or has a wrong value."""
    return read_config(BaseTrainingConfig, path)


def read_config(kind: type[Config], path: str | Path) -> Config:
    """A configuration of any kind from YAML. Raises InputError naming the file and the key that is unknown or wrong."""
    path = Path(path)
    content = read_yaml(path, "a readable YAML file")
    return from_mapping(kind, {} if content is None else content, str(path))


def from_mapping(kind: type[Config], content: Any, where: str) -> Config:
    """Build a dataclass, and the dataclasses inside it, from nested mappings."""
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected keys with values, got {content!r}")
    hints = get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    if unknown := [key for key in content if key not in names]:
        raise InputError(f"{where}: unknown key '{unknown[0]}'; expected some of {', '.join(names)}")
    values = {}
    for name, value in content.items():
        if dataclasses.is_dataclass(hints[name]) and isinstance(hints[name], type):
            values[name] = from_mapping(hints[name], value, f"{where}: {name}")
        elif (inside := _many_of(hints[name])) is not None and isinstance(value, list):
            values[name] = tuple(from_mapping(inside, one, f"{where}: {name}[{n}]") for n, one in enumerate(value))
        else:
            values[name] = _checked(hints[name], value, f"{where}: {name}")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _many_of(hint: Any) -> type | None:
    """The dataclass of a `tuple[Dataclass, ...]`; None for every other type."""
    kind = get_args(hint)[0] if get_origin(hint) is tuple and get_args(hint) else None
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _checked(hint: Any, value: Any, where: str) -> Any:
    try:
        # Lists stand for tuples in YAML. Strict: a string is never a number, a truth value neither.
        return TypeAdapter(hint).validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
    except ValidationError as error:
        hint = "; YAML reads 1e-4 as a word, write 1.0e-4" if _is_number(value) else ""
        raise InputError(f"{where}: {value!r} is not valid ({error.errors()[0]['msg']}{hint})") from error


def _is_number(value: Any) -> bool:
    """Whether a text would be a number elsewhere."""
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def write_training_config(path: Path, config: Any) -> None:
    """Write every resolved value of a configuration of any kind, readable by `read_config`."""
    plain = TypeAdapter(dict[str, Any]).dump_python(asdict(config), mode="json")
    write_whole(path, yaml.safe_dump(plain, sort_keys=False))
