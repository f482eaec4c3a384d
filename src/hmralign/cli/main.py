"""The `hmralign` command: a word, or two, chooses a command, its options follow.

A thin shell over `hmralign.api`. Nothing heavy is imported before a command runs, so `--help` answers at once, and
nothing at all before Ctrl-C and a closed output are looked after. How a run ended: `exit_codes`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hmralign.cli import ctrl_c
from hmralign.cli.exit_codes import DEFECT, DONE, STOPPED, WRONG_INPUT
from hmralign.cli.streams import OutputLost, guarded_streams
from hmralign.cli.usage import DEBUG_VARIABLE, UsageError, in_options

if TYPE_CHECKING:
    from hmralign.cli.commands import Command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Without arguments it is the process's own, and Ctrl-C ends it."""
    if argv is None:
        ctrl_c.notice()
    try:
        with guarded_streams():
            return _outcome(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # the second one
        return STOPPED
    finally:
        if argv is None:
            ctrl_c.leave()


def _outcome(arguments: list[str]) -> int:
    """The exit code, after all output is written."""
    try:
        code = _ended(arguments)
        sys.stdout.flush()
        return code
    except OutputLost as lost:
        return _fail(lost.sentence, lost.exit_code) if lost.sentence else lost.exit_code


def _ended(arguments: list[str]) -> int:
    try:
        code = _chosen(arguments)
    except OutputLost:
        raise
    except SystemExit as exit:  # the parser has said what is wrong, or has shown the help
        code = exit.code if isinstance(exit.code, int) else WRONG_INPUT
    except KeyboardInterrupt:
        code = _fail("stopped", STOPPED)
    except Exception as error:
        code = _failed(error)
    return _fail("stopped", STOPPED) if ctrl_c.was_pressed() and code not in (DONE, STOPPED) else code


def _chosen(arguments: list[str]) -> int:
    """What the first words ask for."""
    from hmralign import __version__
    from hmralign.cli.commands import COMMANDS, overview

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return DONE
    if arguments[0] in ("-V", "--version", "version"):
        sys.stdout.write(f"hmralign {__version__}\n")
        return DONE
    name = next((n for n in (" ".join(arguments[:2]), arguments[0]) if n in COMMANDS), None)  # two words, or one
    if name is None and (parts := [n for n in COMMANDS if n.startswith(f"{arguments[0]} ")]):
        given = " ".join(arguments[:2])
        if arguments[1:2] in ([], ["-h"], ["--help"]):
            sys.stdout.write(overview(parts))
            return DONE
        return _fail(f"'{given}' is no command; expected one of {', '.join(parts)}", WRONG_INPUT)
    if name is None:
        return _fail(f"'{arguments[0]}' is no command; expected one of {', '.join(COMMANDS)}", WRONG_INPUT)
    return _run(name, COMMANDS[name], arguments[len(name.split()) :])


def _run(name: str, command: Command, arguments: list[str]) -> int:
    from hmralign.cli.device_option import check_device
    from hmralign.cli.options import parse_options
    from hmralign.cli.terminal import Terminal

    options = parse_options(command.options, arguments, prog=f"hmralign {name}")
    check_device(options)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that a launcher started, one speaks
    quiet, json = getattr(options, "quiet", False) or not first, getattr(options, "json", False) and first
    with Terminal(quiet=quiet, json=json) as terminal:
        return command.run(options, terminal)


def _failed(error: Exception) -> int:
    """Say what is wrong with an error that came out of a command, or of its imports. Gives the exit code."""
    if ctrl_c.was_pressed():  # an import that is interrupted may fail in another way
        return _fail("stopped", STOPPED)
    if isinstance(error, UsageError):
        return _fail(str(error), WRONG_INPUT)
    if isinstance(error, OSError):
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}", WRONG_INPUT)
    return _fail(*_explained(error))


def _explained(error: Exception) -> tuple[str, int]:
    """Sentence and exit code of an error that is none of the command line's."""
    from hmralign.structures.errors import (  # loads torch, as the command has done by now
        HmralignError,
        InputError,
        UnwritableError,
    )

    if isinstance(error, HmralignError):
        return in_options(str(error)), WRONG_INPUT if isinstance(error, InputError | UnwritableError) else DEFECT
    return f"unexpected {type(error).__name__}: {error} (set {DEBUG_VARIABLE}=1 for the traceback)", DEFECT


def _fail(sentence: str, code: int) -> int:
    """Say what is wrong in one sentence on stderr."""
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0") and sys.exc_info()[0] is not None:
        traceback.print_exc()
    sys.stderr.write(f"hmralign: {' '.join(sentence.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
