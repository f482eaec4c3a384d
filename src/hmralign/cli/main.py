"""The `hmralign` command: a word, or two, chooses a command, its options follow.

A thin shell over `hmralign.api`. Nothing heavy is imported before a command runs, so `--help` answers at once.
To add a command, write its options as a dataclass and its function `(options, terminal) -> exit code` in a module of
this folder, and add a line to `COMMANDS`.

| exit code | meaning                                                                    |
| --------- | -------------------------------------------------------------------------- |
| 0         | done                                                                       |
| 1         | a defect of this program or of its installation                            |
| 2         | wrong input, or nobody was found; one sentence on stderr says what is wrong |
| 3         | some photos or groups failed, or a budget ended the run; what is there     |
|           | stays, and a file or the last line says what failed and why                |
| 130       | stopped with Ctrl-C                                                        |
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hmralign import __version__
from hmralign.cli.align import AlignOptions, run_align
from hmralign.cli.bench import BenchOptions, run_bench
from hmralign.cli.clean import CleanOptions, run_clean
from hmralign.cli.critic import CRITIC_COMMANDS
from hmralign.cli.demo import DemoOptions, run_demo
from hmralign.cli.evaluate import EvaluateOptions, run_evaluate
from hmralign.cli.evaluate_alignment import EvaluateAlignmentOptions, run_evaluate_alignment
from hmralign.cli.groups import run_groups
from hmralign.cli.groups_options import GroupsOptions
from hmralign.cli.options import parse_options
from hmralign.cli.recover import RecoverOptions, run_recover
from hmralign.cli.setup_detector import SetupDetectorOptions, run_setup_detector
from hmralign.cli.synth import SynthOptions, run_synth
from hmralign.cli.terminal import Terminal
from hmralign.cli.train import TrainOptions, run_train
from hmralign.cli.usage import UsageError


class Command(NamedTuple):
    """A command's options, what it does with them, and its line in the overview."""

    options: type
    run: Callable[[Any, Terminal], int]
    line: str


COMMANDS = {
    "recover": Command(RecoverOptions, run_recover, "photos in, ranked human meshes with their uncertainty out"),
    "demo": Command(DemoOptions, run_demo, "recover a bundled photo and a rendered scene of known truth"),
    "synth": Command(SynthOptions, run_synth, "write shards of synthetic persons with masks, for training"),
    "bench": Command(BenchOptions, run_bench, "write the splits of the SynthWild benchmark"),
    "train": Command(TrainOptions, run_train, "train a base model"),
    "groups": Command(GroupsOptions, run_groups, "sample, store and score groups of hypotheses; look at them"),
    "align": Command(AlignOptions, run_align, "move a checkpoint with preference groups and their scores"),
    "clean": Command(CleanOptions, run_clean, "let a critic judge the labels of a data set, drop the bad ones"),
    "evaluate": Command(EvaluateOptions, run_evaluate, "measure checkpoints on a split of the benchmark"),
    "evaluate alignment": Command(
        EvaluateAlignmentOptions, run_evaluate_alignment, "compare aligned checkpoints with their base"
    ),
    **{f"critic {name}": Command(*command) for name, command in CRITIC_COMMANDS.items()},
    "setup-detector": Command(SetupDetectorOptions, run_setup_detector, "install the person detector, once"),
}

DEBUG_VARIABLE = "HMRALIGN_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if arguments[0] in ("-V", "--version", "version"):
        sys.stdout.write(f"hmralign {__version__}\n")
        return 0
    name = next((n for n in (" ".join(arguments[:2]), arguments[0]) if n in COMMANDS), None)  # two words, or one
    if name is None and (parts := [n for n in COMMANDS if n.startswith(f"{arguments[0]} ")]):
        given = " ".join(arguments[:2])
        if arguments[1:2] in ([], ["-h"], ["--help"]):
            sys.stdout.write(overview(parts))
            return 0
        return _fail(f"'{given}' is no command; expected one of {', '.join(parts)}", 2)
    if name is None:
        return _fail(f"'{arguments[0]}' is no command; expected one of {', '.join(COMMANDS)}", 2)
    try:
        return _run(name, COMMANDS[name], arguments[len(name.split()) :])
    except SystemExit as exit:  # the parser has said what is wrong, or has shown the help
        return exit.code if isinstance(exit.code, int) else 2


def overview(names: Sequence[str] = tuple(COMMANDS)) -> str:
    """What `hmralign --help` says; of some commands alone where their common word was given."""
    width = max(map(len, names))
    lines = "".join(f"  {name:<{width}}  {COMMANDS[name].line}\n" for name in names)
    return (
        "usage: hmralign COMMAND [options]\n\n"
        "3D human meshes from photos: many hypotheses per person, ranked, with one answer made from them.\n\n"
        f"commands:\n{lines}\n"
        "`hmralign COMMAND --help` shows a command's options, `hmralign --version` the version.\n"
        f"With {DEBUG_VARIABLE}=1 in the environment, errors come with a traceback.\n"
    )


def _run(name: str, command: Command, arguments: list[str]) -> int:
    try:
        options = parse_options(command.options, arguments, prog=f"hmralign {name}")
        with Terminal(quiet=getattr(options, "quiet", False), json=getattr(options, "json", False)) as terminal:
            return command.run(options, terminal)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except UsageError as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 2)
    except Exception as error:
        return _fail(*_explained(error))


def _explained(error: Exception) -> tuple[str, int]:
    """Sentence and exit code of an error that came out of a command."""
    from hmralign.structures.errors import HmralignError, InputError  # loads torch, as the command has done by now

    if isinstance(error, HmralignError):
        return str(error), 2 if isinstance(error, InputError) else 1
    return f"unexpected {type(error).__name__}: {error} (set {DEBUG_VARIABLE}=1 for the traceback)", 1


def _fail(sentence: str, code: int) -> int:
    """Say what is wrong in one sentence on stderr."""
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0") and sys.exc_info()[0] is not None:
        traceback.print_exc()
    sys.stderr.write(f"hmralign: {' '.join(sentence.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
