"""`hmralign critic score`: a judge scores the groups of a store."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hmralign.cli.critic_estimate import say_hours
from hmralign.cli.critic_judge_options import (
    AskingOptions,
    body_of,
    ending_early,
    open_asker,
    opened_memory,
    score_config,
    store_folder,
    warn_of,
)
from hmralign.cli.exit_codes import SOME_FAILED
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.cli.work_options import share_of

if TYPE_CHECKING:
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.score import ScoreReport
    from hmralign.systems.group_preference.settings import ScoreConfig


_SHARD_HELP = (
    "K/N: score the K-th of N shares of the store's shards, beside other processes that score others, each with a "
    "server of its own if you like; with a journal of its own, unless --journal names one."
)


@dataclass(frozen=True)
class ScoreOptions(AskingOptions):
    """Let a judge score the groups of STORE, with a frozen memory or without one.

    A run that was stopped is continued by the same command; a second run asks nothing.
    """

    store: tyro.conf.Positional[Path | None] = None
    """Store of groups (`hmralign groups`)."""
    memory: Path | None = None
    """Frozen memory (`hmralign critic freeze`)."""
    name: str = "vlm"
    """Name of the scores in the store."""
    retry_failed: bool = False
    """Ask anew about groups that have no verdict."""
    journal_only: bool = False
    """Ask nobody: the verdicts come from answers that the journal has (`hmralign critic import-batch`), of the model
    that --model names. A shard of which an answer is still to come is left as it is."""
    leave_out_known: bool = False
    """Leave groups unjudged whose person is in the memory; otherwise a store with such groups is refused."""
    clip: Path | None = None
    """Folder of the CLIP model by which the memory finds its cases, where it does; replaces the configuration's."""
    seed: int | None = None
    """Seed of plans and labels; replaces the configuration's."""
    shard: Annotated[str | None, tyro.conf.arg(help=_SHARD_HELP)] = None
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


@ending_early
def run_score(options: ScoreOptions, terminal: Terminal) -> int:
    """Score and say where the scores are."""
    from hmralign.structures.counted import counted

    folder = store_folder(options.store)
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.score import score_groups

    config = score_config(options.config, options.preset, options.seed, options.clip, leave_out=options.leave_out_known)
    if options.clip is not None and options.memory is None:
        raise UsageError("--clip is for the cases of a memory, and there is no --memory")
    body = body_of(GroupStore.open(folder))
    share = None if options.shard is None else share_of(options.shard)
    _warn_of_pace(options, GroupStore.open(folder), config, terminal)
    with open_asker(options, folder, options.journal_only, share) as asker, opened_memory(options.memory) as memory:
        report = score_groups(
            folder, asker, body, config, memory, name=options.name, retry=options.retry_failed, device=options.device,
            share=share,
        )  # fmt: skip
        spent = dataclasses.asdict(asker.journal.spent())
    warn_of(report.unjudged, "group", "without a verdict", terminal)
    if report.groups and not report.judged and not options.quiet:
        terminal.note("warning: no group gives a preference; nothing can be trained on these scores")
    if report.waiting and not options.quiet:
        terminal.note(
            f"warning: {counted(report.waiting, 'group')} without answers in the journal; their shards stay as "
            "they are: export what is missing (`hmralign critic export-batch`), or ask a server"
        )
    terminal.answer({**_scored(report), "store": str(folder), "spent": spent})
    terminal.say(
        f"{report.judged} of {counted(report.groups, 'group')} judged with {counted(report.calls, 'call')}, "
        f"{report.uninformative} without a "
        f"difference, {len(report.unjudged)} without a verdict: see {folder / 'scores' / options.name}"
    )
    return SOME_FAILED if report.unjudged or report.waiting else 0


def _scored(report: ScoreReport) -> dict[str, Any]:
    return {**dataclasses.asdict(report), "unjudged": [list(pair) for pair in report.unjudged]}


def _warn_of_pace(options: ScoreOptions, store: GroupStore, config: ScoreConfig, terminal: Terminal) -> None:
    """By the groups that are not scored, a full memory where there is one, and nothing in the journal."""
    if options.journal_only or (options.requests_per_minute is None and options.tokens_per_minute is None):
        return
    from hmralign.systems.group_preference.judging_cost import LONG_RUN_HOURS, estimate_counts

    groups = sum(len(store.shard_ids(shard)) for shard in store.unscored(options.name))
    found = estimate_counts(groups, store.facts.group_size, config, memory=options.memory is not None)
    hours = found.hours(options.requests_per_minute, options.tokens_per_minute)
    if hours > LONG_RUN_HOURS:
        say_hours(hours, terminal)
