"""`hmralign clean`: judge the labels of a data set, drop the bad ones, look at those about the threshold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.label_body_option import LABEL_BODY_HELP
from hmralign.cli.run_file import write_run_file
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.cli.work_options import (
    Engine,
    Shard,
    Workers,
    check_work,
    has_workers,
    make_one_share,
    refuse_work,
    run_workers,
    told_to_the_driver,
)
from hmralign.critics.names import CRITICS, is_critic
from hmralign.data.names import DATASETS

if TYPE_CHECKING:
    from hmralign.body.model import BodyModel
    from hmralign.engines.work import Units
    from hmralign.systems.clean.clean import CleanConfig
    from hmralign.systems.clean.sources import LabelSource

_DATASET_HELP = f"With --data: {', '.join(DATASETS)}, or FILE.py:FUNCTION of your own (docs/extending.md)."

DETECTOR = "mediapipe"
"""Whose keypoints shards are taken to hold where nothing else is said."""


@dataclass(frozen=True)
class CleanOptions:
    """Let a critic judge the labels of SOURCE; drop outliers, those below a threshold, or all but the best share.

    SOURCE is a folder of shards (`hmralign synth`, a split of `hmralign bench`), whose annotations are the labels, or
    an .npz file of what another system predicted. It is never changed. OUT gets the lists of kept and dropped labels
    with scores and reasons, a summary, and a contact sheet of the labels nearest to the threshold. A run that was
    stopped is continued by the same command.
    """

    source: tyro.conf.Positional[Path | None] = None
    """A folder of shards, or a prediction file (.npz)."""
    data: Path | None = None
    """Instead of SOURCE: folder of a data set, which --dataset names and --split chooses from."""
    dataset: Annotated[str, tyro.conf.arg(help=_DATASET_HELP)] = "synthwild"
    split: str = "wild/train"
    """With --data: whose labels."""
    label_body: Annotated[Path | None, tyro.conf.arg(help=LABEL_BODY_HELP)] = None
    out: Path | None = None
    """Folder of the results."""
    critic: str = "scorer"
    """Who judges: scorer, scorer-lab, reprojection, silhouette, plausibility, mix, random. It must not need truth."""
    threshold: float | None = None
    """Least score that is kept, in the critic's own scale."""
    keep_share: float | None = None
    """Instead: the share of the labels that is kept, the best ones, such as 0.8."""
    outliers: float | None = None
    """Instead: drop labels so many robust standard deviations below the most common score, such as 2.5. Right only
    where good labels score alike, as in a laboratory."""
    margin: float | None = None
    """Instead: drop labels whose score lies more than this below the mean score of samples of `lite` on the same
    keypoints. The default where a scorer judges: 0.03 for scorer, 0.06 for scorer-lab; other critics need one of the
    four."""
    samples: int = 16
    """Samples of `lite` per label that a margin is held against."""
    keep_unjudged: bool = False
    """Keep labels on which the critic has no evidence, such as a mask; they are dropped otherwise."""
    hypothesis: Literal["first", "best"] = "first"
    """Which hypothesis of a prediction file with several is judged: the first, or the best of all."""
    detector: str | None = None
    """Whose noise and landmark offsets the keypoints of shards have; the default is mediapipe. A prediction file says
    so itself."""
    write: bool = False
    """Write the kept labels: OUT/cleaned, shards that `hmralign train` takes, or OUT/cleaned.npz. Of a data
    set that is one index (human-data, hybrik-json, 3dpw-json, h36m, scorer-cache) the kept records in its own form."""
    export: Path | None = None
    """Parquet file of the scores and reasons of all labels; needs pyarrow (extra [export])."""
    sheet_items: int = 24
    """Labels on the contact sheet, half of them kept, half dropped; 0 for no sheet."""
    scores_from: Path | None = None
    """OUT of an earlier run on the same labels with the same critic: its scores are taken, only the rule is new."""
    chunk_size: int = 256
    """Labels judged at once: what is lost at most when a run is killed."""
    seed: int = 0
    """Seed of critics that draw."""
    device: Device = CPU
    shard: Shard = None
    workers: Workers = 1
    engine: Engine = "local"
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """The summary as one JSON document on stdout instead of words."""
    config: Path | None = None
    """YAML file of options, or the run.yaml of an earlier run; arguments replace its values."""


def run_clean(options: CleanOptions, terminal: Terminal) -> int:
    """Judge, choose, write."""
    _, out = _checked(options)
    check_work(options)
    if options.scores_from is not None:
        refuse_work(options, "--scores-from takes scores that are there, and nothing is judged")
    if options.shard is not None:
        return make_one_share(options, partial(opened_labels, options), out, terminal)
    if has_workers(options):
        run_workers(options, partial(opened_labels, options), options.device)
    from hmralign.systems.clean.clean import clean_labels

    source, body, config = _made(options)
    summary = clean_labels(
        source,
        body,
        out,
        config,
        scores_from=options.scores_from,
        export=options.export,
        progress=terminal.progress,
        device=options.device,
    )
    write_run_file(out, "clean", options, _made_by(summary, body))
    _warn(summary, options.critic, terminal)
    terminal.answer({"out": str(out), **summary})
    terminal.say(_final_line(summary, options.critic, out))
    return 0


@contextmanager
def opened_labels(options: CleanOptions) -> Iterator[Units]:
    """The chunks of labels, for a worker."""
    from hmralign.systems.clean.clean import label_chunks

    with told_to_the_driver():
        _, out = _checked(options)
        yield label_chunks(*_made(options), out, options.device)


def _made(options: CleanOptions) -> tuple[LabelSource, BodyModel, CleanConfig]:
    """Labels, body and settings of the options."""
    source_path, _ = _checked(options)
    from hmralign.body.free_body import load_free_body
    from hmralign.systems.clean.clean import CleanConfig

    critic: Any = options.critic  # a `CriticChoice`
    config = CleanConfig(
        critic=critic,
        threshold=options.threshold,
        keep_share=options.keep_share,
        outliers=options.outliers,
        margin=options.margin,
        num_samples=options.samples,
        keep_unjudged=options.keep_unjudged,
        chunk_size=options.chunk_size,
        sheet_items=options.sheet_items,
        write=options.write,
        seed=options.seed,
    )
    _ = config.rule  # what is wrong with it is said before anything is read
    body = load_free_body("3k5")
    source = _opened_data(options, body) if source_path is None else _opened_source(source_path, options, body)
    return source, body, config


def _checked(options: CleanOptions) -> tuple[Path | None, Path]:
    """Source and output folder, after what can be told without loading anything. Raises UsageError."""
    if options.source is None and options.data is None:
        raise UsageError("no source was given; expected a folder of shards, a prediction file (.npz), or --data DIR")
    if options.source is not None and options.data is not None:
        raise UsageError(f"both '{options.source}' and --data are given; expected one of them")
    if options.out is None:
        raise UsageError("--out is missing; expected the folder of the results")
    if not is_critic(options.critic):
        raise UsageError(f"there is no critic '{options.critic}'; expected one of {', '.join(CRITICS)}")
    rules = [name for name in ("threshold", "keep_share", "outliers", "margin") if getattr(options, name) is not None]
    if len(rules) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in rules)
        raise UsageError(f"{flags} are given; expected one of them")
    if options.source is None:
        if options.write:
            from hmralign.adapters.index_copies import FORMS

            if options.dataset not in FORMS:
                raise UsageError(
                    f"--write is for shards, prediction files and the indexes {', '.join(FORMS)}; of "
                    f"'{options.dataset}' cleaned.jsonl names the kept records"
                )
        return None, options.out
    if options.source.suffix == ".npz" and options.detector is not None:
        raise UsageError(f"--detector is for shards; '{options.source}' says itself whose keypoints it holds")
    if options.source.suffix != ".npz" and options.hypothesis != "first":
        raise UsageError(f"--hypothesis is for prediction files; '{options.source}' has one label per person")
    return options.source, options.out


def _opened_data(options: CleanOptions, body: BodyModel) -> LabelSource:
    from hmralign.critics.catalogue import critic_crop_side
    from hmralign.critics.names import computed_critics
    from hmralign.data.dataset import DatasetSetting
    from hmralign.systems.clean.sources import DatasetLabels

    assert options.data is not None
    side = critic_crop_side(next(iter(computed_critics((options.critic,)))))
    setting = DatasetSetting(body=body, label_body=options.label_body, crop_side=side)
    return DatasetLabels.open(options.dataset, options.data, options.split, body, setting, options.detector or DETECTOR)


def _opened_source(path: Path, options: CleanOptions, body: BodyModel) -> LabelSource:
    from hmralign.systems.clean.sources import PredictionLabels, ShardLabels

    if path.suffix == ".npz":
        return PredictionLabels.open(path, body, options.hypothesis)
    if not path.is_dir():
        raise UsageError(f"'{path}' is neither a folder of shards nor a prediction file (.npz)")
    return ShardLabels.open(path, body, options.detector or DETECTOR)


def _made_by(summary: dict[str, Any], body: BodyModel) -> dict[str, Any]:
    from hmralign.systems.recover.provenance import BodyIdentity, library_versions

    return {
        "source": {name: summary["source"][name] for name in ("name", "sha256")},
        "critic": summary["critic"],
        "body": dataclasses.asdict(BodyIdentity.of(body)),
        "scores_sha256": summary["scores_sha256"],
        "versions": library_versions(),
    }


def _warn(summary: dict[str, Any], critic: str, terminal: Terminal) -> None:
    """What makes a choice worthless, or scores that do not compare."""
    from hmralign.structures.counted import counted

    counts, said = summary["counts"], []
    if counts["kept"] == 0:
        said.append(f"nothing reached the threshold {summary['threshold']:g}; see the histogram in summary.json")
    elif counts["dropped"] == 0 and summary["rule"]["keep_share"] != 1:
        said.append("nothing was dropped")
    elif summary["rule"]["keep_share"] is None and counts["kept"] < counts["labels"] / 2:
        said.append(
            f"more than half of the labels lie below the threshold {summary['threshold']:g}; look at the sheet and at "
            "the scores in summary.json, or choose a share with --keep-share and --scores-from"
        )
    if counts["not_judged"]:
        fate = "kept" if summary["rule"]["keep_unjudged"] else "dropped"
        said.append(f"{critic} has no evidence on {counted(counts['not_judged'], 'label')}, which are {fate}")
    if len(summary["judged_by_parts"]) > 1:
        said.append("labels were judged by different parts of the mix, whose scores do not compare (summary.json)")
    if summary["source"].get("labels_by_joints"):
        number = summary["source"]["labels_by_joints"]
        said.append(f"{counted(number, 'label')} with joints that are not those of the body; the joints were judged")
    for line in said if not terminal.quiet else ():
        terminal.note(f"warning: {line}")


def _final_line(summary: dict[str, Any], critic: str, out: Path) -> str:
    from hmralign.structures.counted import counted

    counts = summary["counts"]
    copy = "" if summary["cleaned"] is None else f"; the kept ones are {out / summary['cleaned']}"
    good = [f"{100 * share:.0f} % of {split}" for split, share in summary["good_labels_dropped"].items()]
    price = f"; of true labels the same threshold drops {' and '.join(good)}" if good else ""
    return (
        f"{counts['kept']} of {counted(counts['labels'], 'label')} of {summary['source']['name']} kept, "
        f"{counts['dropped']} dropped (threshold {summary['threshold']:.3g} by {critic}){copy}{price}: see {out}"
    )
