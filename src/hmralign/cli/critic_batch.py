"""`hmralign critic export-batch` and `import-batch`: the requests of `critic score` in files, and their answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from hmralign.cli.critic_judge_options import (
    LimitField,
    Preset,
    body_of,
    opened_memory,
    score_config,
    store_folder,
    warn_of,
)
from hmralign.cli.device_option import CPU, Device
from hmralign.cli.exit_codes import SOME_FAILED
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.cli.work_options import share_of

if TYPE_CHECKING:
    from hmralign.systems.group_preference.batch_export import BatchForm, ExportReport
    from hmralign.systems.group_preference.batch_import import ImportReport
    from hmralign.vlm.image_tokens import ImageGrid

JOURNAL = "critic_journal.sqlite"
"""Beside the store, as for `critic score`."""

_SHARD_HELP = (
    "K/N: the requests about the K-th of N shares of the store's shards. Each share has a folder of its own, and so "
    "one file, or several where it would exceed --max-requests or --max-megabytes."
)


@dataclass(frozen=True)
class ExportBatchOptions:
    """Write the requests that `hmralign critic score` would send about the groups of STORE into files.

    Files are in the form of OpenAI's batch services and of `vllm run-batch`. What the journal has an answer to is left
    out. They show people: nothing is sent, and what you do with them is up to you. A run that was stopped is continued
    by the same command; a second run writes nothing. What failed goes into another folder, for the next round.
    """

    store: tyro.conf.Positional[Path]
    """Store of groups (`hmralign groups`)."""
    out: Path
    """Folder of the requests; a new one is made, an old one continued."""
    model: str
    """Name of the model, as it is called where the requests will be answered."""
    memory: Path | None = None
    """Frozen memory (`hmralign critic freeze`)."""
    journal: Path | None = None
    """SQLite file of all answers. The default lies beside the store: critic_journal.sqlite."""
    preset: Preset = "default"
    """Prompt, pictures and plan: ours, or those of the paper."""
    config: Path | None = None
    """YAML file with all settings, instead of --preset."""
    profile: Path | None = None
    """What `hmralign critic doctor` found of this model: lets answers be refused that were given without looking."""
    name: str = "vlm"
    """Name of the scores in the store."""
    retry_failed: bool = False
    """Ask anew about groups that have no verdict, and where attempts are used up."""
    leave_out_known: bool = False
    """Leave out groups whose person is in the memory; otherwise a store with such groups is refused."""
    clip: Path | None = None
    """Folder of the CLIP model by which the memory finds its cases, where it does; replaces the configuration's."""
    seed: int | None = None
    """Seed of plans and labels; replaces the configuration's."""
    send_schema: bool = True
    """Say the form of the answer in each request; switch off for services that refuse it."""
    limit_field: LimitField = "max_tokens"
    """Name under which a request says the longest answer; some services and models refuse max_tokens."""
    images: Literal["inline", "files", "urls"] = "inline"
    """Pictures inside the requests; in files of the folder, which vLLM reads with --allowed-local-media-path; or at
    addresses, for which you put the folder's images on a web server."""
    image_root: Path | None = None
    """With files: where the folder OUT lies on the machine that answers; the default is where it lies here."""
    image_url_prefix: str | None = None
    """With urls: the address of the folder's images, such as https://host/images/."""
    max_requests: int = 50_000
    """Most requests in a file."""
    max_megabytes: float = 190.0
    """Most megabytes (10^6 bytes) of a file."""
    shard: Annotated[str | None, tyro.conf.arg(help=_SHARD_HELP)] = None
    device: Device = CPU
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""

    CONFIG_IS_OF_OPTIONS = False


def run_export_batch(options: ExportBatchOptions, terminal: Terminal) -> int:
    """Write and say what."""
    _check_export(options)
    folder = store_folder(options.store)
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.group_preference.batch_export import export_batch
    from hmralign.vlm.asking import Limits
    from hmralign.vlm.journal import Journal

    config = score_config(options.config, options.preset, options.seed, options.clip, leave_out=options.leave_out_known)
    form, limits = _form(options), Limits(check_pictures=_picture_check(options))
    body = body_of(GroupStore.open(folder))
    with Journal.open(options.journal or folder.with_name(JOURNAL)) as journal, opened_memory(options.memory) as memory:
        report = export_batch(
            folder, options.out, journal, options.model, body, config, memory, name=options.name,
            retry=options.retry_failed, limits=limits, form=form, device=options.device, share=share_of(options.shard),
        )  # fmt: skip
    warn_of(report.undrawn, "group", "that cannot be drawn", terminal)
    terminal.answer(
        {**dataclasses.asdict(report), "undrawn": [list(p) for p in report.undrawn], "out": str(options.out)}
    )
    terminal.say(_exported(report, options.out))
    return 0


def _check_export(options: ExportBatchOptions) -> None:
    if options.config is not None and options.preset != "default":
        raise UsageError("--preset and --config are both given; expected one of them")
    if options.clip is not None and options.memory is None:
        raise UsageError("--clip is for the cases of a memory, and there is no --memory")
    for flag, value, kind in (
        ("--image-root", options.image_root, "files"), ("--image-url-prefix", options.image_url_prefix, "urls"),
    ):  # fmt: skip
        if value is not None and options.images != kind:
            raise UsageError(f"{flag} is for --images {kind}, and --images is {options.images}")
    if options.images == "urls" and options.image_url_prefix is None:
        raise UsageError("--images urls needs --image-url-prefix, the address where the pictures will be")


def _form(options: ExportBatchOptions) -> BatchForm:
    from hmralign.systems.group_preference.batch_export import BatchForm
    from hmralign.systems.group_preference.batch_folder import BatchLimits

    address = ""
    if options.images == "files":
        root = options.out.resolve() if options.image_root is None else options.image_root
        if not root.is_absolute():
            raise UsageError(f"--image-root is '{root}'; expected an absolute path")
        address = f"{(root / 'images').as_uri()}/"
    elif options.image_url_prefix is not None:
        address = f"{options.image_url_prefix.rstrip('/')}/"
    limits = BatchLimits(options.max_requests, options.max_megabytes)
    return BatchForm(options.images, address, options.send_schema, limits, options.limit_field)


def _picture_check(options: ExportBatchOptions) -> ImageGrid | None:
    if options.profile is None:
        return None
    from hmralign.vlm.backends import read_profile

    return read_profile(options.profile, options.model).picture_check()


def _exported(report: ExportReport, out: Path) -> str:
    from hmralign.structures.counted import counted

    size = sum(file.bytes for file in report.files) / 1e6
    rest = [
        f"{number} {what}"
        for number, what in (
            (report.waiting, "were there before"), (report.answered, "are answered"),
            (report.given_up, "have used up their attempts (--retry-failed)"),
        )
        if number
    ]  # fmt: skip
    others = f"; of the other requests {', '.join(rest)}" if rest else ""
    return (
        f"{counted(report.requests, 'request')} written into {counted(len(report.files), 'file')} "
        f"({size:.3g} MB) of {out}{others}"
    )


@dataclass(frozen=True)
class ImportBatchOptions:
    """Read the answers to requests of `hmralign critic export-batch` about the groups of STORE into the journal.

    Each is checked as a live answer is. Lines that were imported before change nothing. Then `hmralign critic score
    --journal-only` writes the verdicts.
    """

    store: tyro.conf.Positional[Path]
    """Store of groups."""
    answers: tyro.conf.Positional[tuple[Path, ...]]
    """Files of answers as they came, those of errors too."""
    folder: Annotated[Path, tyro.conf.arg(name="from")]
    """Folder of the requests."""
    journal: Path | None = None
    """SQLite file of all answers. The default lies beside the store: critic_journal.sqlite."""
    prices: Path | None = None
    """YAML file of prices per million tokens, those of the batch service."""
    answered_by: tuple[str, ...] = ()
    """Further names under which the model answers."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_import_batch(options: ImportBatchOptions, terminal: Terminal) -> int:
    """Read and say what came."""
    from hmralign.structures.counted import counted

    folder = store_folder(options.store)
    if not options.answers:
        raise UsageError("no file of answers is given; expected at least one")
    from hmralign.systems.group_preference.batch_import import import_answers
    from hmralign.vlm.journal import Journal
    from hmralign.vlm.prices import PriceTable

    prices = None if options.prices is None else PriceTable.load(options.prices)
    with Journal.open(options.journal or folder.with_name(JOURNAL)) as journal:
        report = import_answers(
            folder, options.folder, options.answers, journal, prices, answered_by=options.answered_by
        )
    if not options.quiet:
        for line in report.corrupt[:10]:
            terminal.note(f"warning: {line}")
        if report.unknown:
            terminal.note(f"warning: {counted(len(report.unknown), 'line')} without a request in {options.folder}; "
                          f"the first, '{report.unknown[0][:80]}'")  # fmt: skip
    terminal.answer(dataclasses.asdict(report))
    terminal.say(_imported(report, None if prices is None else prices.currency))
    return SOME_FAILED if report.failed or report.unknown or report.corrupt else 0


def _imported(report: ImportReport, currency: str | None) -> str:
    from hmralign.structures.counted import counted

    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(report.failed.items()))
    failed = f"{sum(report.failed.values())} failed" + (f" ({reasons})" if reasons else "")
    cost = "" if currency is None else f", {report.cost:.2f} {currency}"
    return (
        f"{counted(report.answered, 'answer')} taken over, {failed}, {report.known} known already, "
        f"{counted(len(report.corrupt), 'corrupt line')}, {len(report.unknown)} unknown, "
        f"{counted(report.missing, 'request')} without an answer yet; "
        f"{report.prompt_tokens:.3g} tokens in, {report.completion_tokens:.3g} out{cost}"
    )
