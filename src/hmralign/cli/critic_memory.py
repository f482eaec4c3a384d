"""`hmralign critic memory`: show, compare, merge, export or import what a judge learnt."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from hmralign.cli.critic_judge_options import reading_memory
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.critics.vlm.memory.store import Memory


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
    from hmralign.structures.counted import counted

    wanted = {"show": 1, "merge": 3}.get(options.action, 2)
    if len(options.paths) != wanted:
        raise UsageError(
            f"'memory {options.action}' was given {counted(len(options.paths), 'path')}; expected {wanted}"
        )
    if not options.images and options.action != "export":
        raise UsageError(f"--no-images is for 'memory export', not for 'memory {options.action}'")
    first, *rest = options.paths
    if options.action == "import":
        _import(first, rest[0], terminal)
        return 0
    with reading_memory(first) as memory:
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
    from hmralign.critics.vlm.memory.transfer import import_memory

    content = import_memory(folder, path)
    terminal.answer({"memory": str(path), "sha256": content})
    terminal.say(f"the memory of {folder} is in {path}, hash {content[:16]}")


def _export(memory: Memory, folder: Path, terminal: Terminal, *, images: bool) -> None:
    from hmralign.critics.vlm.memory.transfer import export_memory

    content = export_memory(memory, folder, images=images)
    terminal.answer({"folder": str(folder), "sha256": content})
    terminal.say(f"the memory {memory.path} is written to {folder}, hash {content[:16]}")


def _merge(memory: Memory, other: Path, path: Path, terminal: Terminal) -> None:
    from hmralign.critics.vlm.memory.merging import merge_memories
    from hmralign.critics.vlm.memory.store import Memory
    from hmralign.structures.counted import counted
    from hmralign.systems.group_preference.explore import utc_now

    with reading_memory(other) as second:
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
        f"{counted(counts['rules'], 'rule')}, {counted(counts['cases'], 'case')} and "
        f"{counted(counts['episodes'], 'episode')} of {memory.path} and "
        f"{other} are in {path}, hash {made.sha256[:16]}"
    )


def _show(memory: Memory, terminal: Terminal) -> None:
    from hmralign.critics.vlm.memory.credit import rule_effects
    from hmralign.structures.counted import counted

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
        f"{counted(len(shown), 'rule')} ({len(listed) - len(shown)} retired), {counted(cases, 'case')} found "
        f"by {space or 'words'}, "
        f"{counted(len(episodes), 'episode')} ({counted(won, 'success')}) in {memory.path}, {state}, hash "
        f"{content[:16]}"
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
    from hmralign.critics.vlm.memory.store import diff
    from hmralign.structures.counted import counted

    with reading_memory(other) as second:
        lines = diff(memory, second)
    terminal.answer({"equal": not lines, "lines": lines.splitlines()})
    for line in lines.splitlines():
        terminal.say(line)
    terminal.say(
        f"{memory.path} and {other} are equal" if not lines else f"{counted(len(lines.splitlines()), 'difference')}"
    )
