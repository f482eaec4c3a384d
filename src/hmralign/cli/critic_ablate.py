"""`hmralign critic ablate`: what each part of a judge with a memory is worth, from exploring to aligned models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.exit_codes import SOME_FAILED, WRONG_INPUT
from hmralign.cli.presets import needed_config, preset_help
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.studies.judge_ablations.settings import StudyConfig


@dataclass(frozen=True)
class CriticAblateOptions:
    """Run the arms of a study: explore, freeze, score, align, measure, with one part left out in each.

    The study is a YAML file, or the preset of GPA's ablations. One that was stopped is continued by the same
    command; a second run asks nothing.
    """

    config: Path | None = None
    """YAML file of the study: stores, judge, arms."""
    preset: Annotated[str | None, tyro.conf.arg(help=preset_help("ablate"))] = None
    out: Path | None = None
    """Folder for the steps, the journal, gpa_ablations.json and gpa_ablations.md."""
    dry_run: bool = False
    """Say what each arm would ask, and ask nothing."""
    base_url: str | None = None
    """Address of the server; replaces the study's judge."""
    model: str | None = None
    """Name of the model, as the server calls it; replaces the study's."""
    local: Path | None = None
    """Folder of a Qwen3-VL model that runs in this process; replaces the study's judge."""
    allow_remote: bool = False
    """Let pictures of people be sent to another machine than this one."""
    device: Device = CPU
    threads: int = 1
    """Threads of the process."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The document on stdout instead of words."""

    # `--config` holds the study, not the options of the command.
    CONFIG_IS_OF_OPTIONS = False


def run_critic_ablate(options: CriticAblateOptions, terminal: Terminal) -> int:
    """Run and say where the report is."""
    study = needed_config("ablate", options.preset, options.config, "the YAML file of a study")
    if options.out is None and not options.dry_run:
        raise UsageError("--out is missing; expected the folder of the study")
    if options.threads < 1:
        raise UsageError(f"--threads is {options.threads}; expected at least 1")
    from hmralign.studies.judge_ablations.settings import read_study

    config = _with_judge(read_study(study), options)
    if options.dry_run:
        from hmralign.studies.judge_ablations.plan import plan_markdown, plan_study

        plan = plan_study(config)
        terminal.answer(plan)
        terminal.say(plan_markdown(plan))
        return 0
    assert options.out is not None
    return _run(config, options.out, options, terminal)


def _with_judge(config: StudyConfig, options: CriticAblateOptions) -> StudyConfig:
    """The study with whom the options name."""
    judge = config.judge
    if options.base_url is not None or options.local is not None:
        local = None if options.local is None else str(options.local)
        judge = replace(judge, base_url=options.base_url, local=local, allow_remote=False)  # that was for the study's
    if options.local is not None:
        judge = replace(judge, model=None)
    if options.model is not None:
        judge = replace(judge, model=options.model)
    if options.device != CPU:
        judge = replace(judge, device=options.device)
    return replace(config, judge=replace(judge, allow_remote=judge.allow_remote or options.allow_remote))


def _run(config: StudyConfig, out: Path, options: CriticAblateOptions, terminal: Terminal) -> int:
    import torch

    from hmralign.structures.counted import counted
    from hmralign.studies.judge_ablations.run import MARKDOWN, run_ablations
    from hmralign.vlm.errors import BudgetError, ServerError

    torch.set_num_threads(options.threads)
    try:
        document = run_ablations(config, out, device=options.device)
    except (BudgetError, ServerError) as error:
        terminal.note(f"hmralign: {' '.join(str(error).split())}; the same command goes on")
        return WRONG_INPUT if isinstance(error, ServerError) and error.trouble == "account" else SOME_FAILED
    unjudged = sum(
        len((arm[part] or {}).get("unjudged", ())) for arm in document["arms"].values() for part in ("learnt", "scored")
    )
    if unjudged and not options.quiet:
        terminal.note(f"warning: {unjudged} times a group has no verdict; {out / MARKDOWN} says in which arms")
    terminal.answer(document)
    terminal.say(
        f"{counted(len(document['arms']), 'arm')}, judged by {document['judged_by']}, "
        f"{counted(document['journal']['calls'], 'call')}: see "
        f"{out / MARKDOWN}"
    )
    return SOME_FAILED if unjudged else 0
