"""Options of `hmralign groups`, what SOURCE may be, and what can be told of them without loading anything."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.groups_judge import JUDGE
from hmralign.cli.label_body_option import LABEL_BODY_HELP
from hmralign.cli.usage import UsageError
from hmralign.cli.work_options import Collect, Engine, Shard, Workers, check_work
from hmralign.critics.names import CRITICS, computed_critics, is_critic
from hmralign.data.names import DATASETS
from hmralign.detection.names import DETECTORS

DEFAULT_CRITIC = "reprojection"
"""The critic for predictions of other systems, whose bodies the learned scorers do not know."""

_CRITIC_HELP = (
    f"Who scores, one or several of {', '.join(CRITICS)}, {JUDGE}, the .safetensors "
    f"file of a scorer, such as a converted ScoreNet, or a file of descriptions "
    f"(.descriptions.json). The default is the learned scorer: "
    f"scorer-lab for lite-lab and scorer for all others; {DEFAULT_CRITIC} for a prediction file; for a store the "
    f"critics it has. {JUDGE} is a vision-language model, given by --vlm, --base-url or --local."
)
_DETECTOR_HELP = f"Who finds the people in photos: {', '.join(DETECTORS)}, or FILE.py:FUNCTION of your own."
_DATASET_HELP = f"With --data: {', '.join(DATASETS)}, or FILE.py:FUNCTION of your own (docs/extending.md)."


@dataclass(frozen=True)
class GroupsOptions:
    """Sample groups of hypotheses for the persons of SOURCE, keep them in OUT, and let critics score them.

    SOURCE is a folder of shards (`hmralign synth`, a split of `hmralign bench`), photos, an .npz file of what another
    system predicted, or a folder that this command has written: then nothing is sampled, and its groups are scored by
    more critics, counted, exported or drawn. A run that was stopped is continued by the same command.
    """

    source: tyro.conf.Positional[tuple[str, ...]] = ()
    """A folder of shards; photos, folders of photos or patterns; a prediction file (.npz); or a store of groups."""
    data: Path | None = None
    """Instead of SOURCE: folder of a data set, which --dataset names and --split chooses from."""
    dataset: Annotated[str, tyro.conf.arg(help=_DATASET_HELP)] = "synthwild"
    split: str = "wild/train"
    """With --data: which persons."""
    body: Path | None = None
    """With --data: body file that the checkpoint is bound to, such as SMPL's; the free body without it."""
    label_body: Annotated[Path | None, tyro.conf.arg(help=LABEL_BODY_HELP)] = None
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
    detector: Annotated[str, tyro.conf.arg(help=_DETECTOR_HELP)] = "mediapipe"
    detector_folder: Path | None = None
    """Folder of the models of --detector vitpose: person/ (RT-DETR) and pose/ (ViTPose)."""
    predicted_by: str = ""
    """Name of the system whose prediction file SOURCE is."""
    seed: int | None = None
    """Seed of samples, critics that draw and --sheet-choice random; the default is 0, and for a store its own."""
    device: Device = CPU
    runtime: Literal["torch", "bfloat16"] = "torch"
    """What samples: torch, or torch in bfloat16, where the processor is faster at it; the store says which."""
    shard: Shard = None
    workers: Workers = 1
    engine: Engine = "local"
    collect: Collect = False
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


def names_store(source: tuple[str, ...]) -> bool:
    """Whether a store of groups is named, rather than something to make groups of."""
    return len(source) == 1 and os.path.isfile(os.path.join(source[0], "store.json"))


def names_predictions(source: tuple[str, ...]) -> bool:
    """Whether a prediction file is named, rather than something to sample from."""
    return len(source) == 1 and source[0].endswith(".npz")


def check_options(options: GroupsOptions) -> None:
    """What can be told without loading anything. Raises UsageError."""
    if not options.source and options.data is None:
        raise UsageError("no source was given; expected a folder of shards, photos, a store of groups, or --data DIR")
    if options.source and options.data is not None:
        raise UsageError(f"both '{options.source[0]}' and --data are given; expected one of them")
    if options.data is None and (alone := given_options(options, ("dataset", "split", "body", "label_body"))):
        raise UsageError(f"{flag_of(alone[0])} is for --data DIR, the folder of a data set")
    check_work(options)
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


def checked_critics(names: tuple[str, ...], known: tuple[str, ...] = ()) -> None:
    """Raise UsageError for a critic that is neither ours nor among those known."""
    everybody = dict.fromkeys((*CRITICS, JUDGE, *known))
    unknown = [name for name in names if name not in everybody and not is_critic(name)]
    if unknown:
        expected = ", ".join(everybody)
        raise UsageError(f"there is no critic '{unknown[0]}'; expected one of {expected}, or FILE.py:FUNCTION")


def check_pairs(options: GroupsOptions, group_size: int) -> None:
    """Raise UsageError for more pairs than half a group has."""
    if options.pairs is not None and not 2 <= 2 * options.pairs <= group_size:
        raise UsageError(f"--pairs is {options.pairs}; expected 1 to {group_size // 2}, half a group")


def computed(critics: tuple[str, ...]) -> list[Any]:
    """Those that are computed here, a `CriticChoice` each: not the judge, nor a program of the user's."""
    return list(computed_critics(critics))


def given_options(options: GroupsOptions, names: tuple[str, ...]) -> list[str]:
    """Those of the options that are not as they are by default."""
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    return [name for name in names if getattr(options, name) != defaults[name]]


def flag_of(name: str) -> str:
    """An option as it is typed: `group_size` is `--group-size`."""
    return f"--{name.replace('_', '-')}"
