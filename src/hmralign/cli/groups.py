"""`hmralign groups`: groups of hypotheses sampled, stored and scored; statistics, exports and pictures of a store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hmralign.cli.groups_judge import FLAGS, JUDGE, ScoreOptions, check_judge, judge_options, judge_store
from hmralign.cli.run_file import write_run_file
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.critics.names import CRITICS

if TYPE_CHECKING:
    from hmralign.body.model import BodyModel
    from hmralign.preferences.build import GroupsConfig
    from hmralign.preferences.person_source import GroupSource
    from hmralign.preferences.store import GroupStore

DEFAULT_CRITIC = "reprojection"
"""Of predictions of other systems, whose bodies the learned scorers do not know."""

_CRITIC_HELP = (
    f"Who scores, one or several of {', '.join(CRITICS)}, {JUDGE}. The default is the learned scorer: "
    f"scorer-lab for lite-lab and scorer for all others; {DEFAULT_CRITIC} for a prediction file; for a store the "
    f"critics it has. {JUDGE} is a vision-language model, given by --vlm, --base-url or --local."
)

_FOR_SAMPLING = (
    "out", "checkpoint", "group_size", "num_steps", "with_truth", "persons", "shard_size", "detector",
    "detector_folder", "predicted_by",
)  # fmt: skip
"""Options that mean nothing where the groups are there already."""

_NOT_FOR_PREDICTIONS = (
    "checkpoint", "group_size", "num_steps", "with_truth", "persons", "detector", "detector_folder",
)  # fmt: skip
"""Options that mean nothing where another system has predicted the hypotheses."""


@dataclass(frozen=True)
class GroupsOptions:
    """Sample groups of hypotheses for the persons of SOURCE, keep them in OUT, and let critics score them.

    SOURCE is a folder of shards (`hmralign synth`, a split of `hmralign bench`), photos, an .npz file of what another
    system predicted, or a folder that this command has written: then nothing is sampled, and its groups are scored by
    more critics, counted, exported or drawn. A run that was stopped is continued by the same command.
    """

    source: tyro.conf.Positional[tuple[str, ...]] = ()
    """A folder of shards; photos, folders of photos or patterns; a prediction file (.npz); or a store of groups."""
    out: Path | None = None
    """Folder of the store; not needed where SOURCE is one."""
    checkpoint: str = "lite"
    """Weights that sample: "lite", "lite-lab", or the path of a .safetensors checkpoint."""
    group_size: int = 16
    """Hypotheses per person (G), at least 2."""
    num_steps: int = 5
    """Sampling steps."""
    critic: Annotated[tuple[str, ...], tyro.conf.arg(help=_CRITIC_HELP)] = ()
    vlm: Path | None = None
    """For --critic vlm: YAML file with the options of `hmralign critic score` by their names (base_url, model, local,
    memory, preset, config, profile, journal, budget_calls, ...); the five options below replace its values."""
    base_url: str | None = None
    """For --critic vlm: address of a server that speaks OpenAI's chat completions."""
    model: str | None = None
    """For --critic vlm: name of the model, as the server calls it."""
    local: Path | None = None
    """For --critic vlm: instead of a server, the folder of a Qwen3-VL model."""
    memory: Path | None = None
    """For --critic vlm: frozen memory (`hmralign critic freeze`)."""
    allow_remote: bool = False
    """For --critic vlm: let pictures of people be sent to another machine than this one."""
    with_truth: bool = False
    """Keep the annotations of shards in the store; the oracles need them."""
    correlation: float = 0.5
    """Rank correlation of the critic oracle-noisy with the truth, 0 to 1."""
    persons: int | None = None
    """Only the first so many persons of shards."""
    shard_size: int = 64
    """Persons per file of the store: what is lost at most when a run is killed."""
    detector: Literal["mediapipe", "vitpose"] = "mediapipe"
    """Who finds the people in photos."""
    detector_folder: Path | None = None
    """Folder of the models of --detector vitpose: person/ (RT-DETR) and pose/ (ViTPose)."""
    predicted_by: str = ""
    """Name of the system whose prediction file SOURCE is."""
    seed: int | None = None
    """Of samples, of critics that draw, and of --sheet-choice random; the default is 0, and for a store its own."""
    stats: bool = False
    """Print how the critics' scores are spread, tied, and how far the critics agree; with --json in the document."""
    export: Path | None = None
    """Parquet file to write; needs pyarrow (extra [export])."""
    export_layout: Literal["pairs", "groups"] = "pairs"
    """A row per pair of a chosen and a rejected hypothesis, or a row per group."""
    pairs: int | None = None
    """Pairs per group in the export: the so many best against the so many worst. The default is a quarter of G."""
    sheet: Path | None = None
    """PNG to draw: best and worst hypothesis of some groups, by the first critic."""
    sheet_groups: int = 6
    """Groups on the sheet."""
    sheet_choice: Literal["range", "random"] = "range"
    """Which groups: those with the largest difference between best and worst score, or drawn at random."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""
    config: Path | None = None
    """YAML file of options, or the run.yaml of an earlier run; arguments replace its values."""


def run_groups(options: GroupsOptions, terminal: Terminal) -> int:
    """Sample and score, or score what is there, then look at it."""
    _check_options(options)
    judge = _judge(options)
    if names_store(options.source):
        store, critics = _from_store(options)
    elif names_predictions(options.source):
        store, critics = _from_predictions(options)
    else:
        store, critics = _from_source(options)
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
    seen = _views(store, critics, options, document, terminal)
    terminal.answer(document)
    terminal.say(_final_line(store, critics, seen))
    return code


def _judge(options: GroupsOptions) -> ScoreOptions | None:
    """How the vision-language model is to be asked; None where it is not, or where all its scores are there.

    Raises UsageError and InputError for what can be told before anything is sampled.
    """
    if JUDGE in options.critic and names_store(options.source) and not _given(options, FLAGS):
        from hmralign.preferences.store import GroupStore

        store = GroupStore.open(options.source[0])
        if JUDGE in store.critics() and not store.unscored(JUDGE):
            return None
    given = {name: getattr(options, name) for name in _given(options, FLAGS)}
    judge = judge_options(given, asked=JUDGE in options.critic)
    if judge is not None:
        check_judge(judge)
    return judge


def names_store(source: tuple[str, ...]) -> bool:
    """Whether a store of groups is named, rather than something to make groups of."""
    return len(source) == 1 and os.path.isfile(os.path.join(source[0], "store.json"))


def names_predictions(source: tuple[str, ...]) -> bool:
    """Whether a prediction file is named, rather than something to sample from."""
    return len(source) == 1 and source[0].endswith(".npz")


def _check_options(options: GroupsOptions) -> None:
    """What can be told without loading anything. Raises UsageError."""
    if not options.source:
        raise UsageError("no source was given; expected a folder of shards, photos, or a store of groups")
    if options.sheet_groups < 1:
        raise UsageError(f"--sheet-groups is {options.sheet_groups}; expected at least 1")
    for name, path, suffix in (("export", options.export, ".parquet"), ("sheet", options.sheet, ".png")):
        if path is not None and path.suffix != suffix:
            raise UsageError(f"--{name} is '{path}'; expected a file name that ends in {suffix}")
    if not 0 <= options.correlation <= 1:
        raise UsageError(f"--correlation is {options.correlation}; expected a number from 0 to 1")
    if options.pairs is not None and options.export_layout != "pairs":
        raise UsageError("--pairs is for --export-layout pairs; a row per group holds all hypotheses")
    twice = [c for c in options.critic if options.critic.count(c) > 1]
    if twice:
        raise UsageError(f"--critic names '{twice[0]}' twice")
    if options.export is not None:
        from hmralign.preferences.parquet import require_pyarrow

        require_pyarrow()


def _checked_critics(names: tuple[str, ...], known: tuple[str, ...] = ()) -> None:
    everybody = dict.fromkeys((*CRITICS, JUDGE, *known))
    unknown = [name for name in names if name not in everybody]
    if unknown:
        expected = ", ".join(everybody)
        raise UsageError(f"there is no critic '{unknown[0]}'; expected one of {expected}")


# -- groups that are there ---------------------------------------------------------------------------------------------


def _from_store(options: GroupsOptions) -> tuple[GroupStore, tuple[str, ...]]:
    """The store that was named, scored by the critics that were named."""
    from hmralign.preferences.build import GroupsConfig
    from hmralign.preferences.store import GroupStore

    _refuse_sampling_options(options)
    store = GroupStore.open(options.source[0])
    _checked_critics(options.critic, store.critics())
    facts = store.facts
    config = GroupsConfig(
        group_size=facts.group_size,
        detector=facts.detector,
        with_truth=facts.with_truth,
        correlation=options.correlation,
        seed=facts.seed if options.seed is None else options.seed,
    )
    if options.critic and len(store) > 0:
        _score(store, options.critic, config)
    return store, options.critic or tuple(c for c in store.critics() if not store.unscored(c))


def _refuse_sampling_options(options: GroupsOptions) -> None:
    """Raises UsageError for an option that would be ignored."""
    for name in _given(options, _FOR_SAMPLING):
        value = getattr(options, name)
        is_itself = name == "out" and value is not None and value.resolve() == Path(options.source[0]).resolve()
        if not is_itself:
            raise UsageError(
                f"{_flag(name)} is given, but '{options.source[0]}' is a store whose groups are sampled already"
            )


def _given(options: GroupsOptions, names: tuple[str, ...]) -> list[str]:
    """Those of the options that are not as they are by default."""
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    return [name for name in names if getattr(options, name) != defaults[name]]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _score(store: GroupStore, critics: tuple[str, ...], config: GroupsConfig) -> None:
    """Scores that are missing; a store that has them all is not written to."""
    from hmralign.preferences.build import critic_facts, named_critic, score_store
    from hmralign.preferences.store import writing
    from hmralign.preferences.stored_body import stored_body

    foreign = next((c for c in critics if c not in (*CRITICS, JUDGE) and store.unscored(c)), None)
    if foreign is not None:
        raise UsageError(f"'{foreign}' has not scored all groups of {store.folder}, and only its own program can go on")
    body = stored_body(store.facts)
    chosen = _computed(critics)
    facts = {name: critic_facts(name, body, config) for name in chosen}
    missing = [name for name in chosen if not _is_scored(store, name, facts[name].sha256)]
    if missing:
        with writing(store.folder) as writer:
            for name in missing:
                score_store(writer, name, named_critic(name, body, config), facts[name])


def _computed(critics: tuple[str, ...]) -> list[Any]:
    """Those that are computed here, a `CriticChoice` each: not the judge, nor a program of the user's."""
    return [c for c in critics if c in CRITICS]


def _is_scored(store: GroupStore, name: str, sha256: str) -> bool:
    """Whether all groups have scores by a critic with these settings."""
    there = name in store.critics() and not store.unscored(name)
    return there and store.critic_facts(name).get("sha256") == sha256


# -- groups that another system predicted ------------------------------------------------------------------------------


def _from_predictions(options: GroupsOptions) -> tuple[GroupStore, tuple[str, ...]]:
    """A store of what another system predicted, new or continued."""
    from hmralign.body.free_body import load_free_body
    from hmralign.data.prediction_file import read_predictions
    from hmralign.preferences.predictions import build_prediction_groups

    for name in _given(options, _NOT_FOR_PREDICTIONS):
        raise UsageError(f"{_flag(name)} is given, but '{options.source[0]}' holds hypotheses; nothing is sampled")
    if options.out is None:
        raise UsageError("--out is missing; expected the folder of the store")
    if not options.predicted_by.strip():
        raise UsageError(f"--predicted-by is missing; expected the name of the system that made '{options.source[0]}'")
    _checked_critics(options.critic)
    critics = options.critic or (DEFAULT_CRITIC,)
    predictions, body = read_predictions(options.source[0]), load_free_body("3k5")
    _check_pairs(options, predictions.num_hypotheses)
    store = build_prediction_groups(
        predictions, options.out, _computed(critics), predicted_by=options.predicted_by, body=body,
        shard_size=options.shard_size, correlation=options.correlation, seed=options.seed or 0,
    )  # fmt: skip
    write_run_file(options.out, "groups", options, _made_by(options, store, body, {}))
    return store, critics


def _check_pairs(options: GroupsOptions, group_size: int) -> None:
    if options.pairs is not None and not 2 <= 2 * options.pairs <= group_size:
        raise UsageError(f"--pairs is {options.pairs}; expected 1 to {group_size // 2}, half a group")


# -- groups that are sampled -------------------------------------------------------------------------------------------


def _from_source(options: GroupsOptions) -> tuple[GroupStore, tuple[str, ...]]:
    """A store of the persons of the source, new or continued."""
    from hmralign.body.free_body import load_free_body
    from hmralign.models.scorer_checkpoint import scorer_for
    from hmralign.policies.catalogue import open_policy
    from hmralign.preferences.build import GroupsConfig, build_groups

    if options.out is None:
        raise UsageError("--out is missing; expected the folder of the store")
    if options.predicted_by:
        raise UsageError("--predicted-by is for a prediction file (.npz); the groups of this source are sampled here")
    _checked_critics(options.critic)
    critics = options.critic or (scorer_for(options.checkpoint),)
    if (options.detector == "vitpose") != (options.detector_folder is not None):
        raise UsageError("--detector vitpose and --detector-folder DIR go together; expected both or neither")
    _check_pairs(options, options.group_size)
    config = GroupsConfig(
        group_size=options.group_size,
        num_steps=options.num_steps,
        shard_size=options.shard_size,
        with_truth=options.with_truth,
        correlation=options.correlation,
        seed=options.seed or 0,
    )
    body = load_free_body("3k5")
    with _opened_source(options) as (source, noise, detector):
        config = dataclasses.replace(config, detector=noise)
        made = open_policy(options.checkpoint, body, num_steps=options.num_steps, detector=noise)
        store = build_groups(
            made.diffusion(), body, made.sha256, made.trained_on, source, options.out, config, _computed(critics)
        )
        write_run_file(options.out, "groups", options, _made_by(options, store, body, detector))
    return store, critics


@contextmanager
def _opened_source(options: GroupsOptions) -> Iterator[tuple[GroupSource, str, dict[str, str]]]:
    """The persons, whose measured noise their keypoints have, and the versions behind the detector."""
    from hmralign.data.images import expand_inputs
    from hmralign.preferences.person_source import PhotoSource, ShardSource
    from hmralign.structures.errors import InputError

    folder = Path(options.source[0])
    if len(options.source) == 1 and ((folder / "index.json").is_file() or any(folder.glob("shard_*.safetensors"))):
        if options.detector != "mediapipe":
            raise UsageError(f"--detector is for photos, but '{folder}' is a folder of shards")
        yield ShardSource.open(folder, options.persons), options.detector, {}
        return
    if options.persons is not None:
        raise UsageError("--persons is for shards; name fewer photos instead")
    try:
        photos = expand_inputs(options.source)
    except InputError as error:
        if len(options.source) > 1 or not folder.is_dir():
            raise
        raise UsageError(
            f"'{folder}' holds neither a store of groups (store.json), nor finished shards (index.json), nor photos"
        ) from error
    if options.detector_folder is not None:
        from hmralign.detection.vitpose_detector import VitposeDetector

        vitpose = VitposeDetector(options.detector_folder)
        yield PhotoSource(photos, vitpose), vitpose.noise_file or vitpose.name, vitpose.versions
        return
    from hmralign.detection.mediapipe_detector import MediapipeDetector

    with MediapipeDetector() as mediapipe:
        yield PhotoSource(photos, mediapipe), "mediapipe", mediapipe.versions


def _made_by(options: GroupsOptions, store: GroupStore, body: BodyModel, detector: dict[str, str]) -> dict[str, Any]:
    from hmralign.systems.recover.provenance import BodyIdentity, library_versions

    facts = store.facts
    return {
        "checkpoint": {"name": "" if facts.predicted_by else options.checkpoint, "sha256": facts.checkpoint_sha256},
        "predicted_by": facts.predicted_by,
        "retargeted": facts.retargeted,
        "trained_on": list(facts.trained_on),
        "body": dataclasses.asdict(BodyIdentity.of(body)),
        "source": {"name": facts.source, "sha256": facts.source_sha256},
        "detector": {"name": facts.detector, "versions": detector},
        "seed": facts.seed,
        "content_sha256": store.content_hash(),
        "versions": library_versions(),
    }


# -- views -------------------------------------------------------------------------------------------------------------


def _views(
    store: GroupStore, critics: tuple[str, ...], options: GroupsOptions, document: dict[str, Any], terminal: Terminal
) -> list[Path]:
    """Statistics, export and sheet, as asked for; returns the files."""
    if (options.export or options.sheet) and not critics:
        raise UsageError(f"no critic has scored the groups of {store.folder}; name one with --critic")
    if options.stats:
        from hmralign.preferences.statistics import statistics_markdown, store_statistics

        statistics = store_statistics(store)
        document["statistics"] = statistics.record()
        terminal.say(statistics_markdown(statistics))
    files = []
    if options.export is not None:
        from hmralign.preferences.parquet import export_parquet

        rows = export_parquet(store, options.export, critics, options.export_layout, options.pairs)
        document["export"] = {"file": str(options.export), "layout": options.export_layout, "rows": rows}
        files.append(options.export)
    if options.sheet is not None:
        _draw(store, critics[0], options, options.sheet)
        document["sheet"] = str(options.sheet)
        files.append(options.sheet)
    return files


def _draw(store: GroupStore, critic: str, options: GroupsOptions, path: Path) -> None:
    from io import BytesIO

    import torch

    from hmralign.preferences.sheet import drawn_groups, groups_sheet, widest_groups
    from hmralign.preferences.stored_body import stored_body
    from hmralign.storage.whole_file import write_whole

    if options.sheet_choice == "random":
        seed = store.facts.seed if options.seed is None else options.seed
        numbers = drawn_groups(len(store), options.sheet_groups, torch.Generator().manual_seed(seed))
    else:
        numbers = widest_groups(store.scores(critic), options.sheet_groups)
    picture = BytesIO()
    groups_sheet(store, critic, stored_body(store.facts), numbers).save(picture, "PNG")
    write_whole(path, picture.getvalue())


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
    words = [f"{len(store)} group{'s' * (len(store) != 1)} of {store.facts.group_size} from {store.facts.source}"]
    if store.facts.predicted_by:
        carried = " (mapped joints only, retargeted)" if store.facts.retargeted else ""
        words.append(f"predicted by {store.facts.predicted_by}{carried}")
    if store.skipped:
        words.append(f"{len(store.skipped)} gave none (index.jsonl says why)")
    words.append(f"scored by {', '.join(critics)}" if critics else "not scored yet")
    return f"{', '.join(words)}: see {', '.join(str(p) for p in [store.folder, *files])}"
