"""`hmralign critic estimate`: what judging would cost, without asking."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from hmralign.cli.critic_judge_options import Preset, opened_memory, score_config, store_folder
from hmralign.cli.device_option import CPU, Device
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.systems.group_preference.judging_cost import JudgingCost


@dataclass(frozen=True)
class EstimateOptions:
    """Say what judging costs before anything is asked: calls, tokens, and money by a price table.

    Of the groups of STORE that are not scored, or of any number of groups.
    """

    store: tyro.conf.Positional[Path | None] = None
    """Store of groups; or give --groups and --group-size."""
    groups: int | None = None
    """Number of groups."""
    group_size: int | None = None
    """Hypotheses per group."""
    memory: Path | None = None
    """Memory whose rules and cases would be shown; with --groups a full one is assumed."""
    with_memory: bool = True
    """With --groups: whether a memory is shown."""
    clip: Path | None = None
    """Folder of the CLIP model by which the memory finds its cases, where it does."""
    explore: bool = False
    """With --groups: exploring, with its reviews, instead of scoring."""
    leave_one_out: float | None = None
    """With --explore: share of the groups that are judged again with one rule left out; replaces the
    configuration's."""
    device: Device = CPU
    name: str = "vlm"
    """Name of the scores in the store."""
    preset: Preset = "default"
    """Prompt, pictures and plan: ours, or those of the paper."""
    config: Path | None = None
    """YAML file with all settings, instead of --preset."""
    model: str | None = None
    """Name of the model in --prices."""
    prices: Path | None = None
    """YAML file of prices per million tokens."""
    requests_per_minute: float | None = None
    """Most calls per minute; says how long they take."""
    tokens_per_minute: float | None = None
    """Most tokens per minute; says how long they take."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""

    CONFIG_IS_OF_OPTIONS = False


def run_estimate(options: EstimateOptions, terminal: Terminal) -> int:
    """Count and say."""
    from hmralign.structures.counted import counted

    _check_estimate(options)
    if (options.prices is None) != (options.model is None):
        raise UsageError("--prices and --model go together; expected both or neither")
    found, currency = _estimated(options), ""
    if options.prices is not None and options.model is not None:
        from hmralign.vlm.prices import PriceTable

        table = PriceTable.load(options.prices)
        price, currency = table.of(options.model), table.currency
        if price is None:
            raise UsageError(f"'{options.prices}' has no price for '{options.model}'")
        found = found.priced(price)
    hours = found.hours(options.requests_per_minute, options.tokens_per_minute)
    document = {
        **dataclasses.asdict(found), "prompt_tokens": found.prompt_tokens, "currency": currency or None,
        "hours": hours or None,
    }  # fmt: skip
    terminal.answer(document)
    cost = "" if found.cost is None else f", {found.cost:.2f} {currency} (at most {found.cost_most:.2f})"
    terminal.say(
        f"{counted(found.groups, 'group')}: {counted(found.calls, 'call')}, {found.prompt_tokens:.3g} tokens "
        f"in ({found.image_tokens:.3g} of "
        f"pictures), about {found.completion_tokens:.3g} out (at most {found.completion_tokens_most:.3g}){cost}; no "
        "cache, no repeated call; assumptions are in docs/vlm_critic.md"
    )
    say_hours(hours, terminal)
    return 0


def say_hours(hours: float, terminal: Terminal) -> None:
    """How long the calls take at the given pace, with a warning where that is long; nothing for 0 hours."""
    from hmralign.systems.group_preference.judging_cost import LONG_RUN_HOURS

    if hours > LONG_RUN_HOURS and not terminal.quiet:
        terminal.note(
            f"warning: at that many requests or tokens per minute the calls take {hours:.0f} hours ({hours / 24:.1f} "
            "days); judge fewer groups, ask for a higher limit, or see `hmralign critic export-batch`"
        )
    elif hours:
        terminal.say(f"at that many requests or tokens per minute the calls take {hours:.2g} hours")


def _check_estimate(options: EstimateOptions) -> None:
    counts = options.groups is not None and options.group_size is not None
    if (options.store is not None) == counts or (options.groups is None) != (options.group_size is None):
        raise UsageError("expected either a store, or --groups with --group-size")
    if options.explore and options.store is not None:
        raise UsageError("--explore is for --groups; a store is estimated for scoring")
    if counts and options.memory is not None:
        raise UsageError("--memory is for a store; with --groups a full memory is assumed")
    if options.clip is not None and options.memory is None:
        raise UsageError("--clip is for the cases of a memory, and there is no --memory")
    if options.leave_one_out is not None and not options.explore:
        raise UsageError("--leave-one-out is for --explore")


def _estimated(options: EstimateOptions) -> JudgingCost:
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference import judging_cost
    from hmralign.systems.group_preference.settings import ExploreConfig, explore_preset
    from hmralign.training.configuration import read_config

    if options.store is not None:
        config = score_config(options.config, options.preset, None, options.clip)
        with opened_memory(options.memory) as memory:
            store = GroupStore.open(store_folder(options.store))
            return judging_cost.estimate_store(store, config, memory, name=options.name, device=options.device)
    groups, size = options.groups, options.group_size
    assert groups is not None and size is not None
    if options.explore:
        explore = read_config(ExploreConfig, options.config) if options.config else explore_preset(options.preset)
        if options.leave_one_out is not None:
            explore = dataclasses.replace(explore, leave_one_out=options.leave_one_out)
        return judging_cost.estimate_exploration(groups, size, explore)
    config = score_config(options.config, options.preset, None)
    return judging_cost.estimate_counts(groups, size, config, memory=options.with_memory)
