"""`hmralign critic explore`: a judge learns on groups with truth, and its memory keeps what it learnt."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from hmralign.cli.critic_judge_options import (
    AskingOptions,
    Embedding,
    body_of,
    embedding_with,
    ending_early,
    given_path,
    open_asker,
    store_folder,
    warn_of,
)
from hmralign.cli.exit_codes import SOME_FAILED
from hmralign.cli.terminal import Terminal

if TYPE_CHECKING:
    from hmralign.systems.group_preference.explore import ExploreReport
    from hmralign.systems.group_preference.settings import ExploreConfig

Selection = Literal["ucb", "thompson", "greedy", "random", "lower_bound"]


@dataclass(frozen=True)
class ExploreOptions(AskingOptions):
    """Let a judge learn on the groups of STORE, which must have truth: rules and cases go into a memory.

    A run that was stopped is continued by the same command; a second run asks nothing.
    """

    store: tyro.conf.Positional[Path | None] = None
    """Store of groups (`hmralign groups --with-truth`)."""
    memory: Path | None = None
    """File of the memory; a new one is made, an old one continued."""
    groups: int | None = None
    """Only so many groups, drawn with --seed; replaces the configuration's."""
    round_size: int | None = None
    """Groups that see the same memory; replaces the configuration's."""
    no_rules: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show and mine no rules."""
    no_prototypes: tyro.conf.FlagCreatePairsOff[bool] = False
    """Keep and show no cases."""
    no_reflection: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let the judge not review its verdicts for new rules; those that are there are shown."""
    no_images: tyro.conf.FlagCreatePairsOff[bool] = False
    """Keep no pictures of the cases in the memory."""
    selection: Selection | None = None
    """How rules are tried out; replaces the configuration's."""
    leave_one_out: float | None = None
    """Share of the groups that are judged again with one rule left out, 0 to 1, which tells what this rule alone does;
    replaces the configuration's."""
    no_retire: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on showing rules that do harm."""
    max_rules: int | None = None
    """Most rules that are shown, the least promising go; replaces the configuration's."""
    embedding: Embedding | None = None
    """How cases that look alike are found: by pose, by CLIP, by both, or by words alone. The default is what the memory
    has, and pose for a new one; replaces the configuration's."""
    clip: Path | None = None
    """Folder of the CLIP model of --embedding clip or mix; nothing is fetched. Replaces the configuration's."""
    clip_weight: float | None = None
    """Share of CLIP in the similarity of a mix, 0 to 1; replaces the configuration's."""
    seed: int | None = None
    """Seed of order, plans and draws; replaces the configuration's."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


@ending_early
def run_explore(options: ExploreOptions, terminal: Terminal) -> int:
    """Explore and say what was learnt."""
    from hmralign.structures.counted import counted

    folder, path = store_folder(options.store), given_path(options.memory, "--memory", "the file of the memory")
    from hmralign.critics.vlm.memory.store import Memory
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.explore import explore_groups

    config = _explore_config(options)
    body = body_of(GroupStore.open(folder))
    with open_asker(options, folder) as asker, Memory.open(path) as memory:
        report = explore_groups(folder, asker, body, memory, config, device=options.device)
        counts = {"memory_rules": len(memory.rules()), "memory_cases": len(memory.prototype_index().ids)}
        spent = dataclasses.asdict(asker.journal.spent())
    warn_of(report.unjudged, "group", "without a verdict", terminal)
    warn_of(report.failed_reviews, "review", "without an answer", terminal)
    warn_of(report.failed_controls, "group", "without a verdict when a rule was left out", terminal)
    terminal.answer({**_explored(report), **counts, "memory": str(path), "spent": spent})
    terminal.say(
        f"{counted(report.episodes, 'group')} explored with {counted(report.calls, 'call')} ({report.before} "
        "were before), "
        f"{counted(report.successes, 'success')}, {report.controls} judged again without a rule, "
        f"{counted(report.rules, 'new rule')}, "
        f"{len(report.retired)} retired: {counted(counts['memory_rules'], 'rule')} and "
        f"{counted(counts['memory_cases'], 'case')} in {path}"
    )
    return SOME_FAILED if report.unjudged else 0


def _explored(report: ExploreReport) -> dict[str, Any]:
    mean = sum(report.rho) / len(report.rho) if report.rho else None
    return {**dataclasses.asdict(report), "mean_rho": mean}


def _explore_config(options: ExploreOptions) -> ExploreConfig:
    from dataclasses import replace

    from hmralign.systems.group_preference.settings import ExploreConfig, explore_preset
    from hmralign.training.configuration import read_config

    if options.config is None:
        config = explore_preset(options.preset)
    else:
        config = read_config(ExploreConfig, options.config)
    given = {n: getattr(options, n) for n in ("groups", "round_size", "seed", "leave_one_out")}
    switches = ("rules", "prototypes", "reflection", "images", "retire")
    off = {name: False for name in switches if getattr(options, f"no_{name}")}
    config = replace(config, **{name: value for name, value in given.items() if value is not None}, **off)
    if options.seed is not None:
        config = replace(config, judge=replace(config.judge, seed=options.seed))
    if options.selection is not None:
        selection = replace(config.retrieval.selection, method=options.selection)
        config = replace(config, retrieval=replace(config.retrieval, selection=selection))
    if options.max_rules is not None:
        config = replace(config, retirement=replace(config.retirement, max_rules=options.max_rules))
    embedding = embedding_with(config.judge.embedding, options.embedding, options.clip, options.clip_weight)
    return replace(config, judge=replace(config.judge, embedding=embedding))
