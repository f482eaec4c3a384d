"""`hmralign critic doctor`: what a server of a vision-language model can do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hmralign.cli.critic_judge_options import ServerOptions, at_least, ending_early, open_backend
from hmralign.cli.exit_codes import SOME_FAILED
from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class DoctorOptions(ServerOptions):
    """Find out with about 20 small calls what a server can do: whether it sees pictures, keeps their order, gives no
    old answers to new pictures, keeps to a form, and counts tokens as expected."""

    out: Path = Path("critic_profile.json")
    """JSON file of the profile, for --profile of the other commands."""
    most_images: int = 32
    """Most pictures in one request that are tried."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


@ending_early
def run_doctor(options: DoctorOptions, terminal: Terminal) -> int:
    """Examine, write, say what was found."""
    import asyncio

    from hmralign.storage.whole_file import write_whole
    from hmralign.vlm.doctor import examine

    at_least(1, most_images=options.most_images)
    backend = open_backend(options)
    profile = asyncio.run(examine(backend, most_images=options.most_images, at_once=min(8, options.concurrency)))
    write_whole(options.out, profile.to_json())
    terminal.answer({**dataclasses.asdict(profile), "usable": profile.usable})
    for note in profile.notes:
        terminal.say(f"- {note}")
    fit = "can be used as a judge" if profile.usable else "was not shown to see pictures in their order: do not use it"
    terminal.say(f"{profile.model} {fit}; what it can do is in {options.out}")
    return 0 if profile.usable else SOME_FAILED
