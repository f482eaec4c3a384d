"""Code of the user's own, named where a built-in name could stand: a critic, a method, a dataset, a detector, a policy.

    path/to/file.py:make        the function `make` of a file
    package.module:make         of an installed module
    name                        of an entry point in the group `hmralign.<kind>` of an installed package

Such a name runs the code behind it, with all rights of whoever typed it. Nothing that is read from a file of data (a
store, a checkpoint, a configuration that came with either) is ever resolved here: only what stands on the command line
or in the caller's own code.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from hmralign.structures.errors import InputError

GROUP = "hmralign"
"""Entry points are looked for in `hmralign.critics`, `hmralign.datasets`, `hmralign.detectors`, `hmralign.methods` and
`hmralign.policies`."""


def is_extension(kind: str, name: str) -> bool:
    """Whether a name stands for code of the user's: `FILE.py:NAME`, `MODULE:NAME`, or an entry point of that kind."""
    place, _, attribute = name.rpartition(":")
    return (bool(place) and attribute.isidentifier()) or name in extension_names(kind)


def extension_names(kind: str) -> tuple[str, ...]:
    """Names of the installed packages' entry points of a kind, such as "critics"."""
    return tuple(sorted({point.name for point in entry_points(group=f"{GROUP}.{kind}")}))


def load_extension(kind: str, name: str) -> Callable[..., Any]:
    """The function behind a name; see the module's own words for what a name may be.

    Raises InputError naming what is not there, or cannot be called.
    """
    place, _, attribute = name.rpartition(":")
    if not place:
        return _callable(name, _entry_point(kind, name))
    module = _of_file(Path(place)) if place.endswith(".py") else _installed(name, place)
    if not hasattr(module, attribute):
        raise InputError(f"{name}: {place} has no '{attribute}'")
    return _callable(name, getattr(module, attribute))


def made_by(name: str, function: Callable[..., Any], **given: Any) -> Any:
    """What a function makes of the given, in their order. Raises InputError where it takes other arguments."""
    try:
        inspect.signature(function).bind(*given.values())
    except TypeError as error:
        raise InputError(f"{name}: cannot be called with ({', '.join(given)}): {error}") from error
    except ValueError:
        pass  # some functions of compiled modules do not tell their arguments
    return function(*given.values())


def extension_code(name: str) -> str | None:
    """SHA-256 of the file behind `FILE.py:NAME`, for the records; None for every other name."""
    place = Path(name.rpartition(":")[0])
    return hashlib.sha256(place.read_bytes()).hexdigest() if place.suffix == ".py" and place.is_file() else None


def _callable(name: str, found: Any) -> Callable[..., Any]:
    if not callable(found):
        raise InputError(f"{name}: expected a function, found {type(found).__name__}")
    return found


def _entry_point(kind: str, name: str) -> Any:
    found = next((point for point in entry_points(group=f"{GROUP}.{kind}") if point.name == name), None)
    if found is None:
        raise InputError(f"no installed package offers '{name}' as one of its {GROUP}.{kind}")
    try:
        return found.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"'{name}' of {found.value} cannot be imported ({error})") from error


def _installed(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except (ImportError, ValueError) as error:
        raise InputError(f"{name}: {place} cannot be imported ({error})") from error


def _of_file(path: Path) -> ModuleType:
    """The module of a file, imported once however often it is named."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    known = f"hmralign_extension_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module  # dataclasses look their own module up while it is imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[known]
        raise InputError(f"{path}: cannot be imported ({type(error).__name__}: {error})") from error
    return module
