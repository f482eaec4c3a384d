"""`hmralign groups STORE`: groups that are there are scored by more critics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hmralign.cli.groups_judge import JUDGE
from hmralign.cli.groups_options import GroupsOptions, checked_critics, computed, flag_of, given_options
from hmralign.cli.usage import UsageError
from hmralign.critics.names import is_critic

if TYPE_CHECKING:
    from hmralign.preferences.build import GroupStoreConfig
    from hmralign.preferences.store import GroupStore

_FOR_SAMPLING = (
    "out", "checkpoint", "group_size", "num_steps", "runtime", "with_truth", "persons", "shard_size", "detector",
    "detector_folder", "predicted_by",
)  # fmt: skip
"""Options that mean nothing where the groups are there already."""


def from_store(options: GroupsOptions) -> tuple[GroupStore, tuple[str, ...]]:
    """The store that was named, scored by the critics that were named."""
    from hmralign.preferences.build import GroupStoreConfig
    from hmralign.preferences.store import GroupStore

    _refuse_sampling_options(options)
    store = GroupStore.open(options.source[0])
    checked_critics(options.critic, store.critics())
    facts = store.facts
    config = GroupStoreConfig(
        group_size=facts.group_size,
        detector=facts.detector,
        with_truth=facts.with_truth,
        correlation=options.correlation,
        seed=facts.seed if options.seed is None else options.seed,
    )
    if options.critic and len(store) > 0:
        _score(store, options.critic, config, options.device)
    return store, options.critic or tuple(c for c in store.critics() if not store.unscored(c))


def _refuse_sampling_options(options: GroupsOptions) -> None:
    """Raises UsageError for an option that would be ignored."""
    for name in given_options(options, _FOR_SAMPLING):
        value = getattr(options, name)
        is_itself = name == "out" and value is not None and value.resolve() == Path(options.source[0]).resolve()
        if not is_itself:
            raise UsageError(
                f"{flag_of(name)} is given, but '{options.source[0]}' is a store whose groups are sampled already"
            )


def _score(store: GroupStore, critics: tuple[str, ...], config: GroupStoreConfig, device: str) -> None:
    """Scores that are missing; a store that has them all is not written to."""
    from hmralign.preferences.build import critic_facts, named_critic, score_store
    from hmralign.preferences.store import writing
    from hmralign.preferences.stored_body import stored_body

    foreign = next((c for c in critics if c != JUDGE and not is_critic(c) and store.unscored(c)), None)
    if foreign is not None:
        raise UsageError(f"'{foreign}' has not scored all groups of {store.folder}, and only its own program can go on")
    body = stored_body(store.facts).to(device)
    chosen = computed(critics)
    facts = {name: critic_facts(name, body, config) for name in chosen}
    missing = [name for name in chosen if not _is_scored(store, facts[name].name, facts[name].sha256)]
    if missing:
        with writing(store.folder) as writer:
            for name in missing:
                score_store(writer, facts[name].name, named_critic(name, body, config), facts[name], device)


def _is_scored(store: GroupStore, name: str, sha256: str) -> bool:
    """Whether all groups have scores by a critic with these settings."""
    there = name in store.critics() and not store.unscored(name)
    return there and store.critic_facts(name).get("sha256") == sha256
