"""`hmralign critic ...`: a vision-language model judges hypotheses, learns to judge them, and what that costs.

A command is a line of `CRITIC_COMMANDS`; `hmralign critic NAME` runs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from hmralign.cli.critic_audit import CriticAuditOptions, run_critic_audit
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.body.model import BodyModel
    from hmralign.memory.store import Memory
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.estimate import Estimate
    from hmralign.systems.group_preference.explore import ExploreReport
    from hmralign.systems.group_preference.judging import Asker
    from hmralign.systems.group_preference.score import ScoreReport
    from hmralign.systems.group_preference.settings import EmbeddingConfig, ExploreConfig, ScoreConfig
    from hmralign.vlm.chat import ChatBackend
    from hmralign.vlm.image_tokens import ImageGrid

Preset = Literal["default", "paper"]
Selection = Literal["ucb", "thompson", "greedy", "random", "lower_bound"]
Embedding = Literal["pose", "clip", "mix", "none"]
Credit = Literal["shared", "paired", "effects"]

SOME_FAILED = 3
"""Exit code where some groups have no verdict, or a budget or the server ended the run."""


@dataclass(frozen=True)
class _Server:
    """Options of every command that asks a model."""

    base_url: str | None = None
    """Address of a server that speaks OpenAI's chat completions, such as http://127.0.0.1:8000/v1. The key, where one
    is needed, is read from OPENAI_API_KEY."""
    model: str | None = None
    """Name of the model, as the server calls it."""
    local: Path | None = None
    """Instead of a server: folder of a Qwen3-VL model that runs in this process."""
    device: str = "cpu"
    """Where --local runs: cpu, cuda, cuda:1."""
    allow_remote: bool = False
    """Let pictures of people be sent to another machine than this one."""
    timeout: float = 300.0
    """For one answer, seconds."""
    concurrency: int = 16
    """Most calls at once."""
    send_schema: bool = True
    """Send the form of the answer; switch off for servers that refuse it. Answers are checked all the same."""


@dataclass(frozen=True)
class _Asking(_Server):
    """Options of the commands that ask about groups."""

    journal: Path | None = None
    """SQLite file of all answers, begun or continued: what is in it is not asked again. The default lies beside the
    store: critic_journal.sqlite."""
    preset: Preset = "default"
    """Prompt, pictures and plan: ours, or those of the paper."""
    config: Path | None = None
    """YAML file with all settings, instead of --preset."""
    profile: Path | None = None
    """What `hmralign critic doctor` found of this model: lets answers be refused that were given without looking."""
    budget_cost: float | None = None
    """Stop before the calls of the journal cost more; needs --prices."""
    budget_calls: int | None = None
    """Stop before the journal holds more calls."""
    budget_tokens: int | None = None
    """Stop before the calls of the journal take more tokens, prompt and answer together."""
    prices: Path | None = None
    """YAML file of prices per million tokens."""
    requests_per_minute: float | None = None
    """Most calls per minute."""
    tokens_per_minute: float | None = None
    """Most tokens per minute, by an estimate that is corrected."""

    # `--config` holds the settings of the judge, not the options of the command.
    CONFIG_IS_OF_OPTIONS = False


# -- doctor -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DoctorOptions(_Server):
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


def run_doctor(options: DoctorOptions, terminal: Terminal) -> int:
    """Examine, write, say what was found."""
    import asyncio

    from hmralign.reports.whole_file import write_whole
    from hmralign.vlm.doctor import examine

    _at_least(1, most_images=options.most_images)
    backend = _backend(options)
    profile = asyncio.run(examine(backend, most_images=options.most_images, at_once=min(8, options.concurrency)))
    write_whole(options.out, profile.to_json().encode())
    terminal.answer({**dataclasses.asdict(profile), "usable": profile.usable})
    for note in profile.notes:
        terminal.say(f"- {note}")
    fit = "can be used as a judge" if profile.usable else "was not shown to see pictures in their order: do not use it"
    terminal.say(f"{profile.model} {fit}; what it can do is in {options.out}")
    return 0 if profile.usable else SOME_FAILED


# -- explore ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExploreOptions(_Asking):
    """Let a judge learn on the groups of STORE, which must have truth: rules and cases go into a memory.

    A run that was stopped is continued by the same command; a second run asks nothing.
    """

    store: tyro.conf.Positional[Path | None] = None
    """Store of groups (`hmralign groups --with-truth`)."""
    memory: Path | None = None
    """File of the memory, begun or continued."""
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
    """Of order, plans and draws; replaces the configuration's."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_explore(options: ExploreOptions, terminal: Terminal) -> int:
    """Explore and say what was learnt."""
    folder, path = store_folder(options.store), _given(options.memory, "--memory", "the file of the memory")
    from hmralign.memory.store import Memory
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.explore import explore_groups

    config = _explore_config(options)
    body = body_of(GroupStore.open(folder))
    with _asker(options, folder) as asker, Memory.open(path) as memory:
        report = explore_groups(folder, asker, body, memory, config)
        counts = {"memory_rules": len(memory.rules()), "memory_cases": len(memory.prototype_index().ids)}
        spent = dataclasses.asdict(asker.journal.spent())
    warn_of(report.unjudged, "groups have no verdict", terminal)
    warn_of(report.failed_reviews, "reviews gave no answer", terminal)
    warn_of(report.failed_controls, "groups have no verdict without a rule", terminal)
    terminal.answer({**_explored(report), **counts, "memory": str(path), "spent": spent})
    terminal.say(
        f"{report.episodes} groups explored with {report.calls} calls ({report.before} were before), "
        f"{report.successes} successes, {report.controls} judged again without a rule, {report.rules} new rules, "
        f"{len(report.retired)} retired: {counts['memory_rules']} rules and {counts['memory_cases']} cases are in "
        f"{path}"
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
    embedding = _embedding(config.judge.embedding, options.embedding, options.clip, options.clip_weight)
    return replace(config, judge=replace(config.judge, embedding=embedding))


def _embedding(
    config: EmbeddingConfig, kind: Embedding | None, clip: Path | None, weight: float | None = None
) -> EmbeddingConfig:
    """The configuration's with what was given; another kind than the configuration's begins anew."""
    from hmralign.systems.group_preference.settings import EmbeddingConfig

    if kind is not None and kind != config.kind:
        config = EmbeddingConfig()
    given = {"kind": kind, "clip": None if clip is None else str(clip), "weight": weight}
    return dataclasses.replace(config, **{name: value for name, value in given.items() if value is not None})


# -- freeze -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FreezeOptions:
    """Write an immutable copy of MEMORY; its hash stands for everything that a judge can be shown from it."""

    memory: tyro.conf.Positional[Path | None] = None
    """File of a memory."""
    out: Path | None = None
    """File of the copy; must not exist."""
    best_rules: int | None = None
    """Keep only so many rules, those shown to do good; the default keeps all."""
    credit: Credit | None = None
    """What is good. shared, the default: success rates of the prompts a rule was in. effects: what it does to the rank
    correlation, told apart from its company, groups judged without it counted. paired: these groups alone."""
    baseline: float | None = None
    """Success rate that a rule has to exceed, 0 to 1; the default is the judge's without rules, for paired credit a
    half. Effects have none."""
    min_uses: int | None = None
    """How often a rule must have been used to be kept by --best-rules; the default is 10, for effects 4."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_freeze(options: FreezeOptions, terminal: Terminal) -> int:
    """Freeze and say the hash."""
    source = _given(options.memory, "MEMORY", "the file of a memory")
    out = _given(options.out, "--out", "the file of the frozen copy")
    from hmralign.memory.credit import EffectOptions
    from hmralign.memory.pruning import PruningOptions
    from hmralign.memory.store import Memory
    from hmralign.systems.group_preference.explore import freeze_memory, utc_now

    if options.best_rules is None and (options.credit is not None or options.min_uses is not None):
        raise UsageError("--credit and --min-uses say which rules --best-rules keeps; it is missing")
    pruning, effects = PruningOptions(), EffectOptions()
    if options.min_uses is not None:
        pruning = dataclasses.replace(pruning, min_uses=options.min_uses)
        effects = dataclasses.replace(effects, min_uses=options.min_uses)
    with Memory.open(source, read_only=True) as memory:
        frozen = freeze_memory(
            memory, out, best_rules=options.best_rules, baseline=options.baseline,
            pruning=pruning,
            credit=options.credit or "shared", effects=effects, time=utc_now(),
        )  # fmt: skip
    with Memory.open(out) as memory:
        rules, cases = len(memory.rules()), len(memory.prototype_index().ids)
    terminal.answer({"memory": str(out), "sha256": frozen, "rules": rules, "cases": cases})
    terminal.say(f"{rules} rules and {cases} cases are frozen in {out}, hash {frozen[:16]}")
    return 0


# -- score ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreOptions(_Asking):
    """Let a judge score the groups of STORE, with a frozen memory or without one.

    A run that was stopped is continued by the same command; a second run asks nothing.
    """

    store: tyro.conf.Positional[Path | None] = None
    """Store of groups (`hmralign groups`)."""
    memory: Path | None = None
    """Frozen memory (`hmralign critic freeze`)."""
    name: str = "vlm"
    """Of the scores in the store."""
    retry_failed: bool = False
    """Ask anew about groups that have no verdict."""
    journal_only: bool = False
    """Ask nobody: the verdicts come from answers that the journal has (`hmralign critic import-batch`), of the model
    that --model names. Groups of which an answer is missing have no verdict then."""
    leave_out_known: bool = False
    """Leave groups unjudged whose person is in the memory; otherwise a store with such groups is refused."""
    clip: Path | None = None
    """Folder of the CLIP model by which the memory finds its cases, where it does; replaces the configuration's."""
    seed: int | None = None
    """Of plans and labels; replaces the configuration's."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_score(options: ScoreOptions, terminal: Terminal) -> int:
    """Score and say where the scores are."""
    folder = store_folder(options.store)
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.score import score_groups

    config = score_config(options.config, options.preset, options.seed, options.clip, leave_out=options.leave_out_known)
    if options.clip is not None and options.memory is None:
        raise UsageError("--clip is for the cases of a memory, and there is no --memory")
    body = body_of(GroupStore.open(folder))
    _warn_of_pace(options, GroupStore.open(folder), config, terminal)
    with _asker(options, folder, options.journal_only) as asker, opened_memory(options.memory) as memory:
        report = score_groups(folder, asker, body, config, memory, name=options.name, retry=options.retry_failed)
        spent = dataclasses.asdict(asker.journal.spent())
    warn_of(report.unjudged, "groups have no verdict", terminal)
    if report.groups and not report.judged and not options.quiet:
        terminal.note("warning: no group gives a preference; nothing can be trained on these scores")
    terminal.answer({**_scored(report), "store": str(folder), "spent": spent})
    terminal.say(
        f"{report.judged} of {report.groups} groups judged with {report.calls} calls, {report.uninformative} without a "
        f"difference, {len(report.unjudged)} without a verdict: see {folder / 'scores' / options.name}"
    )
    return SOME_FAILED if report.unjudged else 0


def _scored(report: ScoreReport) -> dict[str, Any]:
    return {**dataclasses.asdict(report), "unjudged": [list(pair) for pair in report.unjudged]}


def score_config(
    path: Path | None, preset: Preset, seed: int | None, clip: Path | None = None, *, leave_out: bool = False
) -> ScoreConfig:
    """Settings of a judge, from a file or by a preset, with what was given beside them."""
    from dataclasses import replace

    from hmralign.systems.group_preference.settings import ScoreConfig, score_preset
    from hmralign.training.configuration import read_config

    config = score_preset(preset) if path is None else read_config(ScoreConfig, path)
    if seed is not None:
        config = replace(config, judge=replace(config.judge, seed=seed))
    config = replace(config, judge=replace(config.judge, embedding=_embedding(config.judge.embedding, None, clip)))
    return replace(config, known_images="leave_out") if leave_out else config


# -- estimate ---------------------------------------------------------------------------------------------------------


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
    name: str = "vlm"
    """Of the scores in the store."""
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
        f"{found.groups} groups: {found.calls} calls, {found.prompt_tokens:.3g} tokens in ({found.image_tokens:.3g} of "
        f"pictures), about {found.completion_tokens:.3g} out (at most {found.completion_tokens_most:.3g}){cost}; no "
        "cache, no repeated call; assumptions are in docs/vlm_critic.md"
    )
    _say_hours(hours, terminal)
    return 0


def _say_hours(hours: float, terminal: Terminal) -> None:
    from hmralign.systems.group_preference.estimate import LONG_RUN_HOURS

    if hours > LONG_RUN_HOURS and not terminal.quiet:
        terminal.note(
            f"warning: at that many requests or tokens per minute the calls take {hours:.0f} hours ({hours / 24:.1f} "
            "days); judge fewer groups, ask for a higher limit, or see `hmralign critic export-batch`"
        )
    elif hours:
        terminal.say(f"at that many requests or tokens per minute the calls take {hours:.2g} hours")


def _warn_of_pace(options: ScoreOptions, store: GroupStore, config: ScoreConfig, terminal: Terminal) -> None:
    """By the groups that are not scored, a full memory where there is one, and nothing in the journal."""
    if options.journal_only or (options.requests_per_minute is None and options.tokens_per_minute is None):
        return
    from hmralign.systems.group_preference.estimate import LONG_RUN_HOURS, estimate_counts

    groups = sum(len(store.shard_ids(shard)) for shard in store.unscored(options.name))
    found = estimate_counts(groups, store.facts.group_size, config, memory=options.memory is not None)
    hours = found.hours(options.requests_per_minute, options.tokens_per_minute)
    if hours > LONG_RUN_HOURS:
        _say_hours(hours, terminal)


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


def _estimated(options: EstimateOptions) -> Estimate:
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference import estimate
    from hmralign.systems.group_preference.settings import ExploreConfig, explore_preset
    from hmralign.training.configuration import read_config

    if options.store is not None:
        config = score_config(options.config, options.preset, None, options.clip)
        with opened_memory(options.memory) as memory:
            store = GroupStore.open(store_folder(options.store))
            return estimate.estimate_store(store, config, memory, name=options.name)
    groups, size = options.groups, options.group_size
    assert groups is not None and size is not None
    if options.explore:
        explore = read_config(ExploreConfig, options.config) if options.config else explore_preset(options.preset)
        if options.leave_one_out is not None:
            explore = dataclasses.replace(explore, leave_one_out=options.leave_one_out)
        return estimate.estimate_exploration(groups, size, explore)
    config = score_config(options.config, options.preset, None)
    return estimate.estimate_counts(groups, size, config, memory=options.with_memory)


# -- memory -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MemoryOptions:
    """Look at a memory, compare two, carry one over, or make one of two.

    `show FILE` lists rules with their record and where they came from; `diff FILE FILE` says how two differ; `export
    FILE FOLDER` writes a folder of JSON lines; `import FOLDER FILE` makes a memory of such a folder; `merge FILE FILE
    NEW` puts two together.
    """

    action: tyro.conf.Positional[Literal["show", "diff", "export", "import", "merge"]]
    """What to do."""
    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """One path for show, three for merge, two for the others: from, to."""
    images: bool = True
    """Export the pictures of cases too. They show people."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_memory(options: MemoryOptions, terminal: Terminal) -> int:
    """Do it."""
    wanted = {"show": 1, "merge": 3}.get(options.action, 2)
    if len(options.paths) != wanted:
        raise UsageError(f"'memory {options.action}' was given {len(options.paths)} paths; expected {wanted}")
    if not options.images and options.action != "export":
        raise UsageError(f"--no-images is for 'memory export', not for 'memory {options.action}'")
    first, *rest = options.paths
    if options.action == "import":
        _import(first, rest[0], terminal)
        return 0
    with _reading(first) as memory:
        if options.action == "show":
            _show(memory, terminal)
        elif options.action == "diff":
            _diff(memory, rest[0], terminal)
        elif options.action == "merge":
            _merge(memory, rest[0], rest[1], terminal)
        else:
            _export(memory, rest[0], terminal, images=options.images)
    return 0


def _import(folder: Path, path: Path, terminal: Terminal) -> None:
    from hmralign.memory.transfer import import_memory

    content = import_memory(folder, path)
    terminal.answer({"memory": str(path), "sha256": content})
    terminal.say(f"the memory of {folder} is in {path}, hash {content[:16]}")


def _export(memory: Memory, folder: Path, terminal: Terminal, *, images: bool) -> None:
    from hmralign.memory.transfer import export_memory

    content = export_memory(memory, folder, images=images)
    terminal.answer({"folder": str(folder), "sha256": content})
    terminal.say(f"the memory {memory.path} is written to {folder}, hash {content[:16]}")


def _merge(memory: Memory, other: Path, path: Path, terminal: Terminal) -> None:
    from hmralign.memory.merging import merge_memories
    from hmralign.memory.store import Memory
    from hmralign.systems.group_preference.explore import utc_now

    with _reading(other) as second:
        made = merge_memories(memory, second, path, utc_now())
    with Memory.open(path, read_only=True) as merged:
        texts = {rule.id: rule.text for rule in merged.stored_rules()}
        counts = {"rules": len(merged.rules()), "cases": len(merged.prototype_index().ids)}
        counts["episodes"] = len(merged.episodes())
    terminal.answer({"memory": str(path), **dataclasses.asdict(made), **counts})
    for kept, gone in made.same:
        terminal.say(f"same: '{texts[gone]}' says what '{texts[kept]}' says, and is retired")
    for pair in made.opposite:
        terminal.say(f"opposite: '{texts[pair[0]]}' and '{texts[pair[1]]}'; they are never shown together")
    terminal.say(
        f"{counts['rules']} rules, {counts['cases']} cases and {counts['episodes']} episodes of {memory.path} and "
        f"{other} are in {path}, hash {made.sha256[:16]}"
    )


def _show(memory: Memory, terminal: Terminal) -> None:
    from hmralign.memory.credit import rule_effects

    episodes, cases, content = memory.episodes(), len(memory.prototype_index().ids), memory.content_hash()
    won, space = sum(e.rho > e.threshold for e in episodes), memory.space
    effects = {effect.rule: effect for effect in rule_effects(episodes, memory.log())}
    stored = {rule.id: rule for rule in memory.stored_rules()}
    rules = sorted(memory.rules(retired=True), key=lambda r: (bool(stored[r.id].retired), -r.successes, r.id))
    listed: list[dict[str, Any]] = []
    for rule in rules:
        about = dataclasses.asdict(stored[rule.id])
        effect = dataclasses.asdict(effects[rule.id]) if rule.id in effects else None
        listed.append({**about, "uses": rule.uses, "successes": rule.successes, "effect": effect})
    shown = [entry for entry in listed if not entry["retired"]]
    document = {
        "sha256": content, "frozen": memory.frozen, "episodes": len(episodes), "successes": won, "cases": cases,
        "embedding": None if space is None else str(space), "rules": shown,
        "retired": [entry for entry in listed if entry["retired"]], "conflicts": sorted(memory.conflicts()),
    }  # fmt: skip
    terminal.answer(document)
    for entry in listed:
        _say_rule(entry, terminal)
    for first, second in document["conflicts"]:
        terminal.say(f"opposite: '{stored[first].text}' and '{stored[second].text}'")
    state = "frozen" if memory.frozen else "not frozen"
    terminal.say(
        f"{len(shown)} rules ({len(listed) - len(shown)} retired), {cases} cases found by {space or 'words'}, "
        f"{len(episodes)} episodes ({won} successes) in {memory.path}, {state}, hash {content[:16]}"
    )


def _say_rule(entry: dict[str, Any], terminal: Terminal) -> None:
    """A rule with its record, what it does, where it came from, and why it went."""
    effect = entry["effect"]
    said = "" if effect is None else f", {effect['mean']:+.3f} ({effect['low']:+.3f} to {effect['high']:+.3f})"
    origin = f"from {entry['episode']}" if entry["episode"] else "added"
    terminal.say(
        f"{entry['successes']}/{entry['uses']}{said}  {entry['text']}  [{', '.join(entry['tags'])}]  "
        f"{origin} by {entry['author']}, {entry['time']}"
    )
    if entry["retired"]:
        terminal.say(f"    retired: {entry['retired']}")


def _diff(memory: Memory, other: Path, terminal: Terminal) -> None:
    from hmralign.memory.store import diff

    with _reading(other) as second:
        lines = diff(memory, second)
    terminal.answer({"equal": not lines, "lines": lines.splitlines()})
    for line in lines.splitlines():
        terminal.say(line)
    terminal.say(f"{memory.path} and {other} are equal" if not lines else f"{len(lines.splitlines())} differences")


# -- shared -----------------------------------------------------------------------------------------------------------


def _given(path: Path | None, flag: str, what: str) -> Path:
    if path is None:
        raise UsageError(f"{flag} is missing; expected {what}")
    return path


def store_folder(path: Path | None) -> Path:
    """Raises UsageError where there is no store."""
    folder = _given(path, "STORE", "a store of groups (`hmralign groups`)")
    if not (folder / "store.json").is_file():
        raise UsageError(f"'{folder}' is no store of groups; make one with `hmralign groups`")
    return folder


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; expected at least {least}")


def body_of(store: GroupStore) -> BodyModel:
    """Body of the groups of a store. Raises UsageError for a store without groups."""
    from hmralign.systems.groups.stored_body import stored_body

    if len(store) == 0:
        raise UsageError(f"{store.folder} holds no groups")
    return stored_body(store.facts)


def _backend(options: _Server) -> ChatBackend:
    from hmralign.systems.group_preference.backends import make_backend

    if options.base_url is None and options.local is None:
        raise UsageError("nobody is there to ask; expected --base-url with --model, or --local")
    if not options.timeout > 0:
        raise UsageError(f"--timeout is {options.timeout:g}; expected more than 0")
    _at_least(1, concurrency=options.concurrency)
    return make_backend(
        options.base_url, options.model, options.local, allow_remote=options.allow_remote, device=options.device,
        timeout=options.timeout, concurrency=options.concurrency, plain_schema=not options.send_schema,
    )  # fmt: skip


def _nobody(options: _Server) -> ChatBackend:
    from hmralign.systems.group_preference.backends import Nobody

    if options.model is None or options.base_url is not None or options.local is not None:
        raise UsageError("--journal-only asks nobody; expected --model, and neither --base-url nor --local")
    return Nobody(options.model)


@contextmanager
def _asker(options: _Asking, folder: Path, journal_only: bool = False) -> Iterator[Asker]:
    """Who is asked, with journal, limits and budget; everything is checked before the model is loaded."""
    from hmralign.systems.group_preference.judging import Asker
    from hmralign.vlm.asking import Limits
    from hmralign.vlm.budget import Budget
    from hmralign.vlm.journal import Journal
    from hmralign.vlm.prices import PriceTable

    if options.config is not None and options.preset != "default":
        raise UsageError("--preset and --config are both given; expected one of them")
    if options.budget_cost is not None and options.prices is None:
        raise UsageError("--budget-cost needs --prices")
    budget = Budget(options.budget_cost, options.budget_calls, options.budget_tokens)
    prices = PriceTable() if options.prices is None else PriceTable.load(options.prices)
    backend = _nobody(options) if journal_only else _backend(options)
    limits = Limits(
        concurrency=1 if options.local is not None else options.concurrency,
        requests_per_minute=options.requests_per_minute, tokens_per_minute=options.tokens_per_minute,
        check_pictures=_picture_check(options, backend), journal_only=journal_only,
    )  # fmt: skip
    with Journal.open(options.journal or folder.with_name("critic_journal.sqlite")) as journal:
        yield Asker(backend, journal, limits, budget, prices)


def _picture_check(options: _Asking, backend: ChatBackend) -> ImageGrid | None:
    if options.profile is None:
        return None
    from hmralign.systems.group_preference.backends import read_profile

    profile = read_profile(options.profile, backend.model)
    if not profile.usable:
        import logging

        logging.getLogger("hmralign.critic").warning(
            "%s says that this model was not shown to see pictures in their order", options.profile
        )
    return profile.picture_check()


@contextmanager
def opened_memory(path: Path | None) -> Iterator[Memory | None]:
    """A memory to read, where one is given."""
    if path is None:
        yield None
        return
    with _reading(path) as memory:
        yield memory


@contextmanager
def _reading(path: Path) -> Iterator[Memory]:
    from hmralign.memory.store import Memory

    with Memory.open(path, read_only=True) as memory:
        yield memory


def _ending_early(run: Callable[[Any, Terminal], int]) -> Callable[[Any, Terminal], int]:
    """A budget that is spent, or a server that is gone, is no defect: one sentence, and what was answered stays."""

    def wrapped(options: Any, terminal: Terminal) -> int:
        try:
            return run(options, terminal)
        except (UsageError, KeyboardInterrupt):
            raise
        except Exception as error:
            from hmralign.vlm.errors import BudgetError, ServerError

            if not isinstance(error, BudgetError | ServerError):
                raise
            terminal.note(f"hmralign: {' '.join(str(error).split())}")
            wrong_input = isinstance(error, ServerError) and error.trouble == "account"
            return 2 if wrong_input else SOME_FAILED

    return wrapped


def warn_of(named: list[tuple[str, str]] | tuple[tuple[str, str], ...], what: str, terminal: Terminal) -> None:
    """Say how many there are, and why the first."""
    if named and not terminal.quiet:
        terminal.note(f"warning: {len(named)} {what}; the first, '{named[0][0]}': {named[0][1]}")


CRITIC_COMMANDS: dict[str, tuple[type, Callable[[Any, Terminal], int], str]] = {
    "doctor": (DoctorOptions, _ending_early(run_doctor), "find out what a server of a vision-language model can do"),
    "explore": (ExploreOptions, _ending_early(run_explore), "let a model learn to judge, on groups with truth"),
    "freeze": (FreezeOptions, run_freeze, "make an immutable copy of what it learnt"),
    "score": (ScoreOptions, _ending_early(run_score), "let a model judge groups, with what it learnt"),
    "estimate": (EstimateOptions, run_estimate, "what judging would cost, without asking"),
    "memory": (MemoryOptions, run_memory, "show, compare, merge, export or import what a model learnt"),
    "audit": (CriticAuditOptions, run_critic_audit, "measure any critics against truth and planted mistakes"),
}
