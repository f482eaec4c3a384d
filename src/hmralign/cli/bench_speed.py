"""`hmralign bench speed`: how fast each stage is here, by what it is bound, and whether it was faster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from hmralign.cli.exit_codes import SOME_FAILED
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

_STAGES_HELP = (
    "Which stages: observe, context, sample, lift, refine, render, 'critic NAME', store, 'step METHOD', metrics; all "
    "of them unless said."
)


@dataclass(frozen=True)
class BenchSpeedOptions:
    """Time the stages of the package on drawn persons: wall and CPU seconds, throughput, memory, share of the roofline.

    Seconds belong to this machine at this moment. What can be compared is said in products: CPU seconds over those of a
    matrix product in the same run. Two versions are compared in turns, with --against.
    """

    stages: Annotated[tuple[str, ...], tyro.conf.arg(help=_STAGES_HELP)] = ()
    out: Path | None = None
    """JSON file of all figures and the machine's description; a page (.md) is written beside it."""
    repeats: int = 5
    """Calls of each stage, after one that does not count; with --against the rounds."""
    threads: int = 1
    """Threads of the process."""
    check: Path | None = None
    """JSON file of an earlier run: a stage that takes 1.5 times its products ends the run with exit code 3."""
    against: Path | None = None
    """The `src` of another checkout: both versions are timed in turns, and how much faster this one is is said."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


def run_bench_speed(options: BenchSpeedOptions, terminal: Terminal) -> int:
    """Time and say."""
    from hmralign.structures.counted import counted

    if options.repeats < 1 or options.threads < 1:
        raise UsageError("--repeats and --threads are at least 1")
    if options.check is not None and options.against is not None:
        raise UsageError("--check and --against are both given; expected one of them")
    if options.out is not None and options.out.suffix != ".json":
        raise UsageError(f"--out is '{options.out}'; expected a file name that ends in .json")
    import torch

    from hmralign.studies.speed import run

    torch.set_num_threads(options.threads)
    if options.against is not None:
        document = run.compare_versions(
            options.against, options.stages, rounds=options.repeats, progress=terminal.progress
        )
        page = run.comparison_markdown(document)
    else:
        document = run.run_speed(options.stages, repeats=options.repeats, progress=terminal.progress)
        page = run.speed_markdown(document)
    slower = [] if options.check is None else run.slower_stages(document, options.check)
    if options.out is not None:
        from hmralign.storage.whole_file import write_json, write_whole

        write_json(options.out, document)
        write_whole(options.out.with_suffix(".md"), page)
    terminal.answer({**document, **({} if options.check is None else {"slower": slower})})
    for line in slower if not options.quiet else ():
        terminal.note(f"warning: {line}")
    place = "" if options.out is None else f"{counted(len(document['stages']), 'stage')}: see {options.out}"
    terminal.say(place or page)
    return SOME_FAILED if slower else 0
