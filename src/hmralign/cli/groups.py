"""`hmralign groups`: groups of hypotheses sampled, stored and scored; statistics, exports and pictures of a store."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmralign.cli.groups_judge import FLAGS, JUDGE, ScoreOptions, check_judge, judge_options, judge_store
from hmralign.cli.groups_options import GroupsOptions, check_options, given_options, names_predictions, names_store
from hmralign.cli.groups_predicted import from_predictions
from hmralign.cli.groups_sampled import from_source, opened_units, required_out
from hmralign.cli.groups_stored import from_store
from hmralign.cli.groups_views import views
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.cli.work_options import make_one_share, refuse_work
from hmralign.critics.names import score_name

if TYPE_CHECKING:
    from hmralign.preferences.store import GroupStore


def run_groups(options: GroupsOptions, terminal: Terminal) -> int:
    """Sample and score, or score what is there, then look at it."""
    check_options(options)
    if names_store(options.source) or names_predictions(options.source):
        refuse_work(options, f"'{options.source[0]}' holds groups already; shares are sampled from persons")
    elif options.shard is not None:
        return make_one_share(options, partial(opened_units, options), required_out(options), terminal)
    judge = _judge(options)
    if names_store(options.source):
        store, critics = from_store(options)
    elif names_predictions(options.source):
        store, critics = from_predictions(options)
    else:
        store, critics = from_source(options)
    critics = tuple(score_name(critic) for critic in critics)
    if len(store) == 0:
        first = next((f"; the first, '{name}': {reason}" for name, reason in store.skipped.items()), "")
        raise UsageError(f"{store.folder} holds no groups, {len(store.skipped)} were skipped{first}")
    code, judged = 0, None
    if judge is not None:
        code, judged = judge_store(judge, store.folder, terminal)
        if code == 2:
            return code
        critics = tuple(
            judge.name if c == JUDGE else c for c in critics if c != JUDGE or not store.unscored(judge.name)
        )
    document = _document(store) | ({} if judged is None else {JUDGE: judged})
    speechless = judged["name"] if judged and len(judged["unjudged"]) == judged["groups"] else None  # it was told why
    _tell_who_is_silent(store, tuple(c for c in critics if c != speechless), terminal)
    seen = views(store, critics, options, document, terminal)
    terminal.answer(document)
    terminal.say(_final_line(store, critics, seen))
    return code


def _judge(options: GroupsOptions) -> ScoreOptions | None:
    """How the vision-language model is to be asked; None where it is not, or where all its scores are there.

    Raises UsageError and InputError for what can be told before anything is sampled.
    """
    if JUDGE in options.critic and names_store(options.source) and not given_options(options, FLAGS):
        from hmralign.preferences.store import GroupStore

        store = GroupStore.open(options.source[0])
        if JUDGE in store.critics() and not store.unscored(JUDGE):
            return None
    given = {name: getattr(options, name) for name in given_options(options, FLAGS)}
    judge = judge_options(given, asked=JUDGE in options.critic)
    if judge is not None and given_options(options, ("device",)):
        judge = dataclasses.replace(judge, device=options.device)
    if judge is not None:
        check_judge(judge)
    return judge


def _tell_who_is_silent(store: GroupStore, critics: tuple[str, ...], terminal: Terminal) -> None:
    """A critic without evidence gives equal scores, which teach nothing."""
    for critic in critics:
        scores = store.scores(critic)
        if bool((scores.amax(1) == scores.amin(1)).all()) and not terminal.quiet:
            terminal.note(f"warning: {critic} sees no difference in any group; the source may lack what it judges by")


def _document(store: GroupStore) -> dict[str, Any]:
    return {
        "format_version": 1,
        "out": str(store.folder),
        "source": store.facts.source,
        "predicted_by": store.facts.predicted_by,
        "retargeted": store.facts.retargeted,
        "groups": len(store),
        "group_size": store.facts.group_size,
        "skipped": dict(store.skipped),
        "critics": [c for c in store.critics() if not store.unscored(c)],
        "content_sha256": store.content_hash(),
    }


def _final_line(store: GroupStore, critics: tuple[str, ...], files: list[Path]) -> str:
    from hmralign.structures.counted import counted

    words = [f"{counted(len(store), 'group')} of {store.facts.group_size} from {store.facts.source}"]
    if store.facts.predicted_by:
        carried = " (mapped joints only, retargeted)" if store.facts.retargeted else ""
        words.append(f"predicted by {store.facts.predicted_by}{carried}")
    if store.skipped:
        words.append(f"{len(store.skipped)} gave none (index.jsonl says why)")
    words.append(f"scored by {', '.join(critics)}" if critics else "not scored yet")
    return f"{', '.join(words)}: see {', '.join(str(p) for p in [store.folder, *files])}"
