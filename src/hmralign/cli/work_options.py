"""`--shard`, `--workers`, `--engine` and `--collect`: one command for one process, a pool, an array of jobs, or Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from hmralign.engines.share import Share as WorkShare
    from hmralign.engines.work import OpenUnits

_SHARD_HELP = (
    "K/N: make the K-th of N shares of the work and nothing else. Any number of these run at once, on all machines "
    "that see OUT, and may be killed and repeated; the same command without it then puts the result together."
)
_WORKERS_HELP = (
    "Processes of this machine (or actors of Ray) that make shares, before this one puts the result together."
)
_ENGINE_HELP = "Who runs the workers: processes of this machine, or Ray (extra [ray])."
_COLLECT_HELP = "Put together what shares have made, and make nothing: what is missing is refused by number."

Shard = Annotated[str | None, tyro.conf.arg(help=_SHARD_HELP)]
Workers = Annotated[int, tyro.conf.arg(help=_WORKERS_HELP)]
Engine = Annotated[Literal["local", "ray"], tyro.conf.arg(help=_ENGINE_HELP)]
Collect = Annotated[bool, tyro.conf.arg(help=_COLLECT_HELP)]

WORK_OPTIONS = ("shard", "workers", "engine", "collect")
"""Options that say who works, not on what: a run file does not keep them."""


@contextmanager
def told_to_the_driver() -> Iterator[None]:
    """Let a worker's UsageError be an InputError: engines know those alone, and carry their sentence."""
    from hmralign.structures.errors import InputError

    try:
        yield
    except UsageError as error:
        raise InputError(str(error)) from error


def check_work(options: Any) -> None:
    """What can be told without loading anything. Raises UsageError and InputError."""
    if options.workers < 1:
        raise UsageError(f"--workers is {options.workers}; expected at least 1")
    given = [flag for flag, is_given in (
        ("--shard", options.shard is not None), ("--collect", getattr(options, "collect", False)),
        ("--workers", has_workers(options)),
    ) if is_given]  # fmt: skip
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are given; expected one of them")
    share_of(options.shard)
    if options.engine == "ray":
        from hmralign.engines.ray_pool import require_ray

        require_ray()


def share_of(shard: str | None) -> WorkShare:
    """The share that `--shard` names; without it all of the work. Raises InputError for what is none."""
    from hmralign.engines.share import WHOLE
    from hmralign.engines.share import Share as WorkShare

    return WHOLE if shard is None else WorkShare.of_text(shard)


def has_workers(options: Any) -> bool:
    """Whether others than this process are to work."""
    return options.workers > 1 or options.engine == "ray"


def refuse_work(options: Any, why: str) -> None:
    """Raise UsageError where there is nothing that workers could do."""
    named = [name for name in WORK_OPTIONS if getattr(options, name, None) not in (None, False, 1, "local")]
    if named:
        raise UsageError(f"--{named[0]} is given, but {why}")


def run_workers(options: Any, open_units: OpenUnits, device: str = "cpu") -> None:
    """Let the engine make all units."""
    if options.engine == "ray":
        from hmralign.engines.ray_pool import run_ray_pool

        run_ray_pool(open_units, options.workers, gpus=1.0 if device.startswith("cuda") else 0.0)
    else:
        from hmralign.engines.local_pool import run_local_pool

        run_local_pool(open_units, options.workers)


def make_one_share(options: Any, open_units: OpenUnits, out: Path, terminal: Terminal) -> int:
    """What `--shard` asks for; gives the exit code."""
    from hmralign.engines.work import make_share
    from hmralign.structures.counted import counted

    share = share_of(options.shard)
    with open_units() as units:
        made = make_share(units, share, lambda numbers: terminal.progress(numbers, f"share {share}"))
        missing, count = len(units.missing()), len(units)
    document = {"format_version": 1, "out": str(out), "shard": str(share), "units": count, "made": made}
    terminal.answer(document | {"missing": missing})
    rest = f"{missing} of all are missing" if missing else "none is missing: run the command without --shard"
    terminal.say(f"share {share}: {made} of {counted(len(share.numbers(count)), 'unit')} made now, {rest}: see {out}")
    return 0
