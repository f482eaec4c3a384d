"""Help pages that people read: what tyro shows of options, without its marks for programmers, within the terminal.

tyro names the value of an option by its type. It writes `{None}|PATH` where None stands for "not given",
`[[STR [STR ...]]]` for several values, `(default: )` for none, keeps the line breaks of docstrings, and does not wrap
what stands above the table of options.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

_NARROWEST = 40
"""Columns below which tyro makes its tables no narrower."""


def description(options: type) -> str:
    """The docstring of options with each paragraph in one line, since tyro keeps line breaks before a sign."""
    paragraphs = (inspect.getdoc(options) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def readable_options(options: type) -> ConstructorRegistry:
    """How tyro reads `options`: as ever, with readable names of values, defaults and texts."""
    from tyro.constructors import ConstructorRegistry, StructConstructorSpec

    registry, asked = ConstructorRegistry(), []

    @registry.struct_rule
    def readable(info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type is not options or asked:
            return None
        asked.append(info)  # the rule asks for what tyro would have said without it
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            asked.clear()
        if not isinstance(spec, StructConstructorSpec):
            return None
        return dataclasses.replace(spec, fields=tuple(_readable(field) for field in spec.fields))

    return registry


@contextmanager
def wrapped_page() -> Iterator[None]:
    """What is printed inside ends at the width of the terminal; lines of a paragraph are never broken in words."""
    page = io.StringIO()
    try:
        with redirect_stdout(page):
            yield
    finally:
        width = max(_NARROWEST, shutil.get_terminal_size().columns)
        printed = [line.rstrip() for line in page.getvalue().splitlines()]
        kept = [line for before, line in zip(["", *printed], printed, strict=False) if line or before]
        lines = [part for line in kept for part in _wrapped(line, width)]
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _wrapped(line: str, width: int) -> list[str]:
    indent = "    " if line.startswith("usage: ") else ""
    if len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _readable(field: StructFieldSpec) -> StructFieldSpec:
    import tyro

    marked = tyro.conf.arg(metavar=_value_name(field), help_behavior_hint=_default_text)
    typ: Any = Annotated[field.type, marked]  # pyright: ignore[reportInvalidTypeForm]
    return dataclasses.replace(field, type=typ, helptext=_in_one_line(field.helptext))


def _in_one_line(text: str | Callable[[], str | None] | None) -> Callable[[], str]:
    """The text without line breaks, found when it is asked for: reading docstrings takes its time."""
    return lambda: " ".join(((text() if callable(text) else text) or "").split())


def _default_text(default: str) -> str:
    """Nothing for a default that says nothing."""
    return "" if default in ("None", "", "''") else f"(default: {default})"


def _value_name(field: StructFieldSpec) -> str | None:
    """What stands for the value; None where tyro's own name is readable."""
    import tyro

    hint, marks = field.type, ()
    if get_origin(hint) is Annotated:
        hint, *marks = get_args(hint)
    name = field.name.upper().replace("_", "-")
    positional = tyro.conf.Positional in marks
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        value = name if positional else _type_name(get_args(hint)[0])
        return f"[{value} ...]"
    if get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint):
        inner = [part for part in get_args(hint) if part is not NoneType]
        value = "|".join(_type_name(part) for part in inner)
        return f"[{name if positional and value.isupper() else value}]" if positional else value
    return name if positional and hint is Path else None


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    if get_origin(hint) is tuple:
        return " ".join(_type_name(part) for part in get_args(hint))
    return hint.__name__.upper()
