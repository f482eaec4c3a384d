"""What the commands about a judge have in common: whom they ask, with what settings, and how a run may end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.exit_codes import SOME_FAILED, WRONG_INPUT
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.body.model import BodyModel
    from hmralign.critics.vlm.memory.store import Memory
    from hmralign.engines.share import Share
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.settings import EmbeddingConfig, ScoreConfig
    from hmralign.vlm.asker import Asker
    from hmralign.vlm.chat import ChatBackend
    from hmralign.vlm.image_tokens import ImageGrid

Preset = Literal["default", "paper"]
LimitField = Literal["max_tokens", "max_completion_tokens"]
Embedding = Literal["pose", "clip", "mix", "none"]


@dataclass(frozen=True)
class ServerOptions:
    """Options of every command that asks a model."""

    base_url: str | None = None
    """Address of a server that speaks OpenAI's chat completions, such as http://127.0.0.1:8000/v1. The key, where one
    is needed, is read from OPENAI_API_KEY."""
    model: str | None = None
    """Name of the model, as the server calls it."""
    local: Path | None = None
    """Instead of a server: folder of a Qwen3-VL model that runs in this process."""
    device: Device = CPU
    allow_remote: bool = False
    """Let pictures of people be sent to another machine than this one."""
    timeout: float = 300.0
    """For one answer, seconds."""
    concurrency: int = 16
    """Most calls at once."""
    send_schema: bool = True
    """Send the form of the answer; switch off for servers that refuse it. Answers are checked all the same."""
    limit_field: LimitField = "max_tokens"
    """Name under which the longest answer is sent; some servers and models refuse max_tokens."""


@dataclass(frozen=True)
class SpendingOptions(ServerOptions):
    """Options of the commands that ask a model much: the journal of its answers, and what may be spent."""

    journal: Path | None = None
    """SQLite file of all answers, new or continued: what is in it is not asked again. The default lies beside the
    result."""
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


@dataclass(frozen=True)
class AskingOptions(SpendingOptions):
    """Options of the commands that ask about groups."""

    journal: Path | None = None
    """SQLite file of all answers, new or continued: what is in it is not asked again. The default lies beside the
    store: critic_journal.sqlite."""
    preset: Preset = "default"
    """Prompt, pictures and plan: ours, or those of the paper."""
    config: Path | None = None
    """YAML file with all settings, instead of --preset."""

    # `--config` holds the settings of the judge, not the options of the command.
    CONFIG_IS_OF_OPTIONS = False


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
    config = replace(config, judge=replace(config.judge, embedding=embedding_with(config.judge.embedding, None, clip)))
    return replace(config, known_images="leave_out") if leave_out else config


def embedding_with(
    config: EmbeddingConfig, kind: Embedding | None, clip: Path | None, weight: float | None = None
) -> EmbeddingConfig:
    """The configuration's with what was given; another kind than the configuration's begins anew."""
    from hmralign.systems.group_preference.settings import EmbeddingConfig

    if kind is not None and kind != config.kind:
        config = EmbeddingConfig()
    given = {"kind": kind, "clip": None if clip is None else str(clip), "weight": weight}
    return dataclasses.replace(config, **{name: value for name, value in given.items() if value is not None})


def given_path(path: Path | None, flag: str, what: str) -> Path:
    """The path. Raises UsageError where it was not given."""
    if path is None:
        raise UsageError(f"{flag} is missing; expected {what}")
    return path


def store_folder(path: Path | None) -> Path:
    """Raises UsageError where there is no store."""
    folder = given_path(path, "STORE", "a store of groups (`hmralign groups`)")
    if not (folder / "store.json").is_file():
        raise UsageError(f"'{folder}' is no store of groups; make one with `hmralign groups`")
    return folder


def at_least(least: int, **values: int) -> None:
    """Raises UsageError naming the first option, given by its field, that is smaller."""
    for name, value in values.items():
        if value < least:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; expected at least {least}")


def body_of(store: GroupStore) -> BodyModel:
    """Body of the groups of a store. Raises UsageError for a store without groups."""
    from hmralign.preferences.stored_body import stored_body

    if len(store) == 0:
        raise UsageError(f"{store.folder} holds no groups")
    return stored_body(store.facts)


def open_backend(options: ServerOptions) -> ChatBackend:
    """Who is asked. Raises UsageError where nobody is given, and as `make_backend`."""
    from hmralign.vlm.backends import make_backend

    if options.base_url is None and options.local is None:
        raise UsageError("nobody is there to ask; expected --base-url with --model, or --local")
    if not options.timeout > 0:
        raise UsageError(f"--timeout is {options.timeout:g}; expected more than 0")
    at_least(1, concurrency=options.concurrency)
    return make_backend(
        options.base_url, options.model, options.local, allow_remote=options.allow_remote, device=options.device,
        timeout=options.timeout, concurrency=options.concurrency, plain_schema=not options.send_schema,
        limit_field=options.limit_field,
    )  # fmt: skip


def _nobody(options: ServerOptions) -> ChatBackend:
    from hmralign.vlm.backends import Nobody

    if options.model is None or options.base_url is not None or options.local is not None:
        raise UsageError("--journal-only asks nobody; expected --model, and neither --base-url nor --local")
    return Nobody(options.model)


@contextmanager
def open_asker(
    options: AskingOptions, folder: Path, journal_only: bool = False, share: Share | None = None
) -> Iterator[Asker]:
    """Who is asked about a store, or a share of it; everything is checked before the model is loaded.

    A share has a journal of its own, which begins with what the store's knows; the store's takes in those of shares.
    """
    if options.config is not None and options.preset != "default":
        raise UsageError("--preset and --config are both given; expected one of them")
    whole, shares = folder.with_name("critic_journal.sqlite"), folder.parent.glob("critic_journal.*-of-*.sqlite")
    own, others = whole, sorted(shares)
    if share is not None and not journal_only:
        own = folder.with_name(f"critic_journal.{share.number}-of-{share.count}.sqlite")
        others = [whole] if whole.is_file() else []
    with opened_asker(options, own, journal_only) as asker:
        if options.journal is None:
            asker.journal.merge(others)
        yield asker


@contextmanager
def opened_asker(options: SpendingOptions, journal: Path, journal_only: bool = False) -> Iterator[Asker]:
    """Who is asked, with limits, budget and journal (`journal` unless another is named); all is checked first."""
    from hmralign.vlm.asker import Asker
    from hmralign.vlm.asking import Limits
    from hmralign.vlm.budget import Budget
    from hmralign.vlm.journal import Journal
    from hmralign.vlm.prices import PriceTable

    if options.budget_cost is not None and options.prices is None:
        raise UsageError("--budget-cost needs --prices")
    budget = Budget(options.budget_cost, options.budget_calls, options.budget_tokens)
    prices = PriceTable() if options.prices is None else PriceTable.load(options.prices)
    backend = _nobody(options) if journal_only else open_backend(options)
    limits = Limits(
        concurrency=1 if options.local is not None else options.concurrency,
        requests_per_minute=options.requests_per_minute, tokens_per_minute=options.tokens_per_minute,
        check_pictures=_picture_check(options, backend), journal_only=journal_only,
    )  # fmt: skip
    path = options.journal or journal
    if journal_only and not path.is_file():
        raise UsageError(
            f"--journal-only: there is no journal '{path}'; expected the one that the answers were read into"
        )
    with Journal.open(path) as opened:
        yield Asker(backend, opened, limits, budget, prices)


def _picture_check(options: SpendingOptions, backend: ChatBackend) -> ImageGrid | None:
    if options.profile is None:
        return None
    from hmralign.vlm.backends import read_profile

    return read_profile(options.profile, backend.model).picture_check()


def ending_early(run: Callable[[Any, Terminal], int]) -> Callable[[Any, Terminal], int]:
    """A budget that is spent, or a server that is gone, is no defect: one sentence, and what was answered stays."""

    @functools.wraps(run)
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
            return WRONG_INPUT if wrong_input else SOME_FAILED

    return wrapped


def warn_of(
    named: list[tuple[str, str]] | tuple[tuple[str, str], ...], one: str, what: str, terminal: Terminal
) -> None:
    """Say how many of `one` there are, and why the first."""
    from hmralign.structures.counted import counted

    if named and not terminal.quiet:
        terminal.note(f"warning: {counted(len(named), one)} {what}; the first, '{named[0][0]}': {named[0][1]}")


@contextmanager
def opened_memory(path: Path | None) -> Iterator[Memory | None]:
    """A memory to read, where one is given."""
    if path is None:
        yield None
        return
    with reading_memory(path) as memory:
        yield memory


@contextmanager
def reading_memory(path: Path) -> Iterator[Memory]:
    """A memory to read."""
    from hmralign.critics.vlm.memory.store import Memory

    with Memory.open(path, read_only=True) as memory:
        yield memory
