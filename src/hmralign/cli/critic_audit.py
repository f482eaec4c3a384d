"""`hmralign critic audit`: how far critics may be trusted, measured on groups whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class CriticAuditOptions:
    """Measure critics on a store with truth: rank and linear correlation, regret, ties, silence, with intervals.

    STORE is a folder of `hmralign groups ... --with-truth`, or one whose groups a speaking critic has scored. Scores
    that are there are read, other critics are asked now; nothing is written into the store. With --planted, critics are
    also asked about true bodies beside bodies with a known mistake.
    """

    store: tyro.conf.Positional[Path]
    """Folder of the groups."""
    out: Path
    """Folder for critic_audit.json, critic_audit.md and critic_audit.png."""
    critic: tuple[str, ...] = ()
    """Critics, or names of scores in the store; the default is all that have scored every group."""
    reference: str = "reprojection"
    """Critic that the others are compared with on the same groups; "none" for no comparison."""
    groups: int | None = None
    """Only the first so many groups."""
    planted: int = 0
    """Persons on whom mistakes are planted; 0 leaves it out."""
    draws: int = 1000
    """Bootstrap draws behind the intervals."""
    seed: int = 0
    """Seed of the bootstrap and of planted mistakes."""
    device: Device = CPU
    threads: int = 1
    """Threads of the process."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The document on stdout instead of words."""


def run_critic_audit(options: CriticAuditOptions, terminal: Terminal) -> int:
    """Measure, write, say."""
    from hmralign.structures.counted import counted

    _check(options)
    import torch

    from hmralign.preferences.store import GroupStore
    from hmralign.studies.critic_audit.audit import AuditConfig, audit_store, write_audit

    torch.set_num_threads(options.threads)
    store = GroupStore.open(options.store)
    critics = options.critic or tuple(c for c in store.critics() if not store.unscored(c))
    if not critics:
        raise UsageError(f"no critic has scored the groups of {options.store}; name one with --critic")
    reference = "" if options.reference == "none" else options.reference
    config = AuditConfig(critics, reference, options.groups, options.planted, options.draws, options.seed)
    document = audit_store(store, config, device=options.device)
    files = write_audit(options.out, document)
    terminal.answer(document)
    best = max(document["critics"].items(), key=lambda item: item[1]["per_group"]["srcc"][0])
    terminal.say(
        f"{counted(len(document['critics']), 'critic')} on {counted(document['groups'], 'group')} of "
        f"{document['store']['source']}; "
        f"the best order is by {best[0]} (SRCC {best[1]['per_group']['srcc'][0]:.3f}): "
        f"see {', '.join(str(f) for f in files)}"
    )
    return 0


def _check(options: CriticAuditOptions) -> None:
    """What can be told without loading anything. Raises UsageError."""
    twice = [c for c in options.critic if options.critic.count(c) > 1]
    if twice:
        raise UsageError(f"--critic names '{twice[0]}' twice")
    for name, least in (("groups", 2), ("planted", 0), ("draws", 10), ("threads", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}; expected at least {least}")
