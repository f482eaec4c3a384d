"""YAML that anybody may have made: bytes, depth, values and numbers are counted while it is read.

`yaml.safe_load` takes what it is given: ten lines of aliases stand for billions of values, a key that is given twice
silently loses one, brackets end its recursion, and a number of a million digits takes hours. Everything that comes from
a YAML file goes through here instead.

| what is read        | with         | wrong content raises                        |
| ------------------- | ------------ | ------------------------------------------- |
| a file              | `read_yaml`  | InputError: `<path>: not <what> (<reason>)` |
| text from elsewhere | `parse_yaml` | YamlError: the reason alone                 |
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hmralign.storage.limited_file import read_limited
from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError, shown

LONGEST_NUMBER = 300
"""Characters of a number."""


@dataclass(frozen=True)
class YamlLimits:
    """How much is read."""

    max_bytes: int = 2**20
    max_depth: int = 32
    """Lists and mappings inside of each other."""
    max_values: int = 10_000
    """Keys, values, lists and mappings, all together."""


CONFIGURATION = YamlLimits()
"""Configurations, records of runs, tables of prices: more than any of them needs."""


class YamlError(ValueError):
    """Content is no YAML within the limits; its text says why, and in which line."""


def parse_yaml(content: bytes, limits: YamlLimits = CONFIGURATION) -> Any:
    """The value that a text stands for; None for an empty one.

    Raises YamlError for what is no YAML, is not UTF-8, gives a key twice, uses aliases or merge keys, exceeds the
    limits, or has a number of more than `LONGEST_NUMBER` characters.
    """
    if len(content) > limits.max_bytes:
        raise YamlError(f"it has {counted(len(content), 'byte')}, expected at most {limits.max_bytes}")
    try:
        text = content.decode("utf-8")
        _count(text, limits)
        return yaml.load(text, _Loader)
    except UnicodeDecodeError as error:
        raise YamlError(f"it is not UTF-8 text, byte {error.start} is wrong") from error
    except yaml.YAMLError as error:
        raise YamlError(_reason(error)) from error
    except (ValueError, OverflowError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # What PyYAML's constructors raise where a word looks like a date or a number and is none.
        raise YamlError(shown(str(error))) from error


def read_yaml(path: Path, what: str, limits: YamlLimits = CONFIGURATION) -> Any:
    """The value in a file; `what` is the file's meaning, as in "a configuration". Raises InputError."""
    try:
        return parse_yaml(read_limited(path, limits.max_bytes), limits)
    except OSError as error:
        raise InputError(f"{path}: not {what} ({error.strerror or error})") from error
    except YamlError as error:
        raise InputError(f"{path}: not {what} ({error})") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which would keep the last of several equal keys and compute with any number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for name, _ in node.value:
            if name.tag == "tag:yaml.org,2002:merge":
                raise _wrong("'<<' merges mappings, expected the values themselves", name)
            key = self.construct_object(name, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise _wrong(f"key {shown(repr(key))} is given twice", name)
                seen.add(key)
        return super().construct_mapping(node, deep)

    def _number(self, node: yaml.ScalarNode) -> Any:
        if len(node.value) > LONGEST_NUMBER:
            raise _wrong(f"a number has more than {LONGEST_NUMBER} characters", node)
        whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader._number)


def _count(text: str, limits: YamlLimits) -> None:
    """Raise YamlError at the first value that is too much; nothing is built of those before it."""
    values, depth = 0, 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise YamlError(
                f"line {event.start_mark.line + 1}: '*{shown(event.anchor)}' is an alias, expected the value itself"
            )
        if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent):
            values += 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if values > limits.max_values:
            raise YamlError(f"it has more than {limits.max_values} values")
        if depth > limits.max_depth:
            raise YamlError(f"it is nested deeper than {limits.max_depth}")


def _wrong(reason: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, reason, node.start_mark)


def _reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else f"line {mark.line + 1}: "
    return f"{line}{shown(str(getattr(error, 'problem', None) or error))}"
