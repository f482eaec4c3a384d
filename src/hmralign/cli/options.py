"""From arguments and `--config` files to options: dataclasses parsed by tyro.

A `--config` file replaces defaults, arguments replace both. It is YAML with the option names as keys (underscores for
dashes), or the `run.yaml` of an earlier run. It is read strictly: an unknown key, a key given twice or a value of the
wrong type is an error. An option of several values may be given several times: all of them count. An option of one
value may be given once: a parser would keep the last and say nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from hmralign.cli.help_page import description, readable_options, wrapped_page
from hmralign.cli.usage import UsageError

Options = TypeVar("Options")

RUN_FILE_KEYS = {"format_version", "command", "options", "made_by"}
NAMES_A_SERVER = ("--base-url", "--vlm")
"""Where one of these is an argument, leave to send pictures, which a file gives for its own server, is not for it."""


MAY_NAME_CODE = {
    "base": "policies", "checkpoint": "policies", "checkpoints": "policies", "critic": "critics",
    "dataset": "datasets", "detector": "detectors", "method": "methods",
}  # fmt: skip
"""Options whose value may be code of the user's own (`structures.extensions`), and of which kind."""


def parse_options(options: type[Options], arguments: Sequence[str], prog: str) -> Options:
    """Options from arguments, on top of the `--config` file if one is named.

    Raises UsageError for a wrong file and an option of one value that is given twice; other wrong arguments end in
    `SystemExit` as command lines do.
    """
    # A command whose `config` says something else than its own options reads it itself.
    has_config = _reads_itself(options) and any(f.name == "config" for f in dataclasses.fields(options))  # pyright: ignore
    _refuse_repeated(options, arguments)
    arguments = _joined(options, arguments)
    config = _config_argument(arguments) if has_config else None
    if config is None:
        return _by_tyro(options, arguments, prog)
    values = read_config(Path(config), options)
    _refuse_code(Path(config), values, arguments)
    if any(_flag_of(word) in NAMES_A_SERVER for word in arguments):
        values.pop("allow_remote", None)
    default = options(**values)
    return _by_tyro(options, arguments, prog, default=default)


def _by_tyro(options: type[Options], arguments: Sequence[str], prog: str, default: Options | None = None) -> Options:
    import tyro

    missing: Any = tyro.MISSING_NONPROP

    with wrapped_page() if {"-h", "--help"} & set(arguments) else nullcontext():
        return tyro.cli(
            options, args=list(arguments), prog=prog, description=description(options),
            registry=readable_options(options),
            default=missing if default is None else default,
        )  # fmt: skip


def _reads_itself(options: type) -> bool:
    return bool(getattr(options, "CONFIG_IS_OF_OPTIONS", True))


def _refuse_repeated(options: type, arguments: Sequence[str]) -> None:
    flags = option_flags(options)
    single = {flag: flag for flag, hint in flags.items() if not _holds_several(hint)}
    single |= {flag.replace("--", "--no-", 1): flag for flag, hint in flags.items() if hint is bool}
    given = [single[flag] for word in arguments if (flag := _flag_of(word)) in single]
    twice = next((flag for flag in given if given.count(flag) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is given {given.count(twice)} times; expected once, since it has one value")


def _joined(options: type, arguments: Sequence[str]) -> list[str]:
    """`--critic a --critic b` as `--critic a b` at the end: a parser would keep the last and say nothing.

    `--critic=a` has one value: the words behind it are arguments, and stand with those before the first option.
    """
    several = {flag for flag, hint in option_flags(options).items() if _holds_several(hint)}
    flags = [flag for word in arguments if (flag := _flag_of(word)) in several]
    values: dict[str, list[str]] = {flag: [] for flag in flags if flags.count(flag) > 1 or _has_equals(flag, arguments)}
    plain: list[str] = []
    rest: list[str] = []
    current = plain
    for word in arguments:
        if not word.startswith("--"):
            current.append(word)
        elif (flag := _flag_of(word)) not in values:
            rest.append(word)
            current = rest
        elif "=" in word:
            values[flag].append(word.split("=", 1)[1])
            current = plain
        else:
            current = values[flag]
    return [*plain, *rest, *(word for flag, given in values.items() for word in (flag, *given))]


def _has_equals(flag: str, arguments: Sequence[str]) -> bool:
    return any("=" in word and _flag_of(word) == flag for word in arguments)


def _flag_of(word: str) -> str:
    return word.split("=", 1)[0].replace("_", "-")


def _holds_several(hint: Any) -> bool:
    return get_origin(hint) is tuple and get_args(hint)[1:] == (...,)


def _config_argument(arguments: Sequence[str]) -> str | None:
    for number, argument in enumerate(arguments):
        if argument == "--config" and number + 1 < len(arguments):
            return arguments[number + 1]
        if argument.startswith("--config="):
            return argument.removeprefix("--config=")
    return None


def read_config(path: Path, options: type) -> dict[str, Any]:
    """Values of a configuration file, checked against the fields of a dataclass."""
    from hmralign.storage.yaml_file import read_yaml  # loads torch, as the command is going to
    from hmralign.structures.errors import InputError

    try:
        content = read_yaml(path, "a YAML file of options")
    except InputError as error:
        raise UsageError(str(error)) from error
    content = {} if content is None else content
    if isinstance(content, dict) and set(content) == RUN_FILE_KEYS:
        content = content["options"]
        if isinstance(content, dict):  # earlier versions kept it; it was given for one run
            content = {name: value for name, value in content.items() if name != "allow_remote"}
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' holds a {type(content).__name__}; expected option names with their values")
    return _checked(content, options, path)


def _refuse_code(path: Path, values: dict[str, Any], arguments: Sequence[str]) -> None:
    """A file that somebody sent must not run code: what it names is run only where an argument says the same.

    Raises UsageError naming the option.
    """
    from hmralign.structures.extensions import is_extension

    for option, kind in MAY_NAME_CODE.items():
        value = values.get(option, ())
        for name in (value,) if isinstance(value, str) else value or ():
            if is_extension(kind, name) and not any(word in (name, f"--{option}={name}") for word in arguments):
                raise UsageError(
                    f"'{path}': option '{option}' names code, '{name}', which a file may not have run; give it as an "
                    "argument too if you trust it"
                )


def _checked(content: dict, options: type, path: Path) -> dict[str, Any]:
    from pydantic import TypeAdapter, ValidationError

    # A file of options cannot name another; where `config` says something else it is an option like any other.
    left_out = ("config",) if _reads_itself(options) else ()
    fields = {field.name: field for field in dataclasses.fields(options) if field.name not in left_out}
    unknown = [str(key) for key in content if key not in fields]
    if unknown:
        raise UsageError(f"'{path}' has the unknown option '{unknown[0]}'; expected some of {', '.join(fields)}")
    hints = _hints(options)
    values = {}
    for name, value in content.items():
        try:
            # Strict would refuse a path given as text or a tuple given as a list; lax would take "yes" for a number.
            values[name] = TypeAdapter(hints[name]).validate_json(_as_json(value), strict=True)
        except (ValidationError, TypeError, ValueError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise UsageError(f"'{path}': option '{name}' is {value!r}: {reason}") from error
    return values


def _as_json(value: Any) -> str:
    import json

    return json.dumps(value, allow_nan=False)


def _hints(options: type) -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(options)


def option_flags(options: Any) -> dict[str, Any]:
    """Types of the options by what is typed for them: `--group-size`, or the name that the option gives itself."""
    from typing import get_type_hints

    import tyro

    marked, plain = get_type_hints(options, include_extras=True), _hints(options)
    flags = {}
    for field in dataclasses.fields(options):
        marks = getattr(marked[field.name], "__metadata__", ())
        if tyro.conf.Positional not in marks:
            name = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name)
            flags[f"--{name}".replace("_", "-")] = plain[field.name]
    return flags
