"""`hmralign critic describe`: how far a model's descriptions of poses may be believed, part by part."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hmralign.cli.critic_judge_options import SpendingOptions, at_least, ending_early, given_path, opened_asker
from hmralign.cli.exit_codes import DONE, SOME_FAILED
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class CriticDescribeOptions(SpendingOptions):
    """Let a model describe persons whose bodies are known, and measure what is true of it.

    A statement counts in `hmralign refine --describe vlm --trust OUT` by how much oftener it is true of the person than
    of anybody else.
    """

    data: Path | None = None
    """Folder of a data set of persons with pictures and bodies."""
    out: Path = Path("description_audit.json")
    """File for the audit."""
    dataset: str = "synthwild-images"
    """What --data is."""
    split: str = "lab/val"
    """Which persons of --data."""
    persons: int = 100
    """How many are described; each costs 7 questions for each sample."""
    samples: int = 3
    """Answers about each part of the body."""
    mirrored_samples: int = 2
    """Answers about each part in the mirrored picture."""
    part_words: int = 40
    """Words of an answer about a part at most; as `hmralign refine` is to ask."""
    seed: int = 0
    """Seed of the persons, the prompts and the bootstrap."""
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print one JSON document about the result, and nothing else.")] = False
    config: Path | None = None
    """YAML file of options; arguments replace its values."""


@ending_early
def run_critic_describe(options: CriticDescribeOptions, terminal: Terminal) -> int:
    """Ask, audit, write, say."""
    data = given_path(options.data, "--data", "a folder of persons with pictures and bodies")
    at_least(2, persons=options.persons)
    if options.out.is_dir():
        raise UsageError(f"--out is the folder '{options.out}'; expected a file")
    from hmralign.data.dataset import open_dataset
    from hmralign.evaluation.description_audit import LEAST_STATEMENTS, write_audit
    from hmralign.refinement.description.prompts import DescribeOptions
    from hmralign.structures.counted import counted
    from hmralign.systems.language_refinement.audit import audit_model

    persons = open_dataset(options.dataset, data, options.split)
    asked = DescribeOptions(
        samples=options.samples, mirrored_samples=options.mirrored_samples, part_words=options.part_words,
        seed=options.seed,
    )  # fmt: skip
    with opened_asker(options, options.out.with_name("describe_journal.sqlite")) as asker:
        found = audit_model(asker, persons, options.persons, asked, seed=options.seed)
    write_audit(options.out, found.parts, {**found.facts, "failures": found.failures})
    for audit in found.parts if not options.quiet else ():
        few = "" if audit.statements >= LEAST_STATEMENTS else " (too few to count)"
        terminal.note(
            f"{audit.part.replace('_', ' ')}: {counted(audit.statements, 'statement')}{few}, "
            f"{100 * audit.precision:.0f} % true, {100 * audit.by_chance:.0f} % true of anybody, kappa "
            f"{audit.kappa:.2f}, at least {audit.kappa_low:.2f}"
        )
    terminal.answer({"out": str(options.out), "parts": [asdict(a) for a in found.parts], "failures": found.failures})
    told = f", {counted(found.failures, 'question')} without an answer" if found.failures else ""
    terminal.say(f"{counted(options.persons, 'person', 'people')} described{told}: see {options.out}")
    return SOME_FAILED if found.failures else DONE
