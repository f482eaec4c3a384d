"""`hmralign data check` and `data list`: published data sets on disk, before anything is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.data.names import PUBLISHED

_DATASET_HELP = f"What the folder holds: {', '.join(PUBLISHED)}. The default is what it looks like."


@dataclass(frozen=True)
class DataCheckOptions:
    """Say what is there of a published data set, what is missing and where to get it, and whether frames are right.

    With a split, its records are read: those that cannot be used are counted and named, labels are held against what
    the files say otherwise, and OUT/data_check.png shows 12 records with their labels projected. Look at it.
    """

    folder: tyro.conf.Positional[Path]
    """Folder of the data set."""
    dataset: Annotated[str | None, tyro.conf.arg(help=_DATASET_HELP)] = None
    split: str | None = None
    """Which records to read; none are read without it."""
    out: Path | None = None
    """Folder of data_check.json and data_check.png."""
    label_body: Path | None = None
    """SMPL-shaped file of the labels' body, or a folder with one for each gender."""
    gender: Literal["own", "neutral"] = "own"
    """Whether labels pose the body of each person's gender or the neutral one."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


@dataclass(frozen=True)
class DataListOptions:
    """List the published data sets that can be read: files, licence, where they are to be had, what was tried."""

    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_data_list(options: DataListOptions, terminal: Terminal) -> int:
    """Say each card."""
    from dataclasses import asdict

    from hmralign.adapters.cards import card_of

    cards = [card_of(name) for name in PUBLISHED]
    terminal.answer({"format_version": 1, "datasets": [asdict(card) for card in cards]})
    for card in cards:
        terminal.say(f"{card.name}: {card.title} ({card.source})")
        terminal.say(f"  licence   {card.licence}")
        terminal.say(f"  to be had {card.where}")
        terminal.say(f"  files     {'; '.join(card.files)}")
        terminal.say(f"  splits    {', '.join(card.splits)}")
        terminal.say(f"  tried     {card.tried}")
    return 0


def run_data_check(options: DataCheckOptions, terminal: Terminal) -> int:
    """Look, read, measure, draw."""
    if options.dataset is not None and options.dataset not in PUBLISHED:
        raise UsageError(f"there is no published data set '{options.dataset}'; expected one of {', '.join(PUBLISHED)}")
    if not options.folder.is_dir():
        raise UsageError(f"'{options.folder}' is no folder; expected that of a data set")
    dataset = options.dataset or _guessed(options.folder)
    if options.split is None:
        return _say_files(dataset, options, terminal)
    if options.out is None:
        raise UsageError("--out is missing; expected the folder of the picture")
    from hmralign.data.dataset import DatasetSetting
    from hmralign.systems.check_data.check import check_dataset

    setting = DatasetSetting(label_body=options.label_body, gender=options.gender)
    document = check_dataset(dataset, options.folder, options.split, setting, options.out)
    terminal.answer(document)
    for line in _lines(document):
        terminal.say(line)
    terminal.say(f"look at {options.out / 'data_check.png'}: bodies must stand where the people are, left sides orange")
    return 0


def _guessed(folder: Path) -> str:
    from hmralign.adapters.cards import looks_like

    if not (found := looks_like(folder)):
        raise UsageError(
            f"'{folder}' looks like none of {', '.join(PUBLISHED)}; `hmralign data list` says which files each has"
        )
    return found[0]


def _say_files(dataset: str, options: DataCheckOptions, terminal: Terminal) -> int:
    """Which files are there; exit code 1 where annotations are missing."""
    from dataclasses import asdict

    from hmralign.adapters.cards import card_of, found_files

    card, found = card_of(dataset), found_files(card_of(dataset), options.folder)
    terminal.answer({
        "format_version": 1, "dataset": dataset, "folder": str(options.folder), "files": [asdict(f) for f in found],
        "where": card.where, "licence": card.licence,
    })  # fmt: skip
    terminal.say(f"{options.folder}: {card.title}")
    for file in found:
        number = "missing" if file.count == 0 else str(file.count)
        terminal.say(f"  {number:>8}  {file.pattern}  ({file.what})")
    missing = [file for file in found if file.count == 0]
    if missing:
        terminal.say(f"what is missing is to be had at {card.where}; licence: {card.licence}")
    terminal.say(f"with --split ({', '.join(card.splits)}) and --out its records are read and drawn")
    return 1 if found and found[0].count == 0 else 0


def _lines(document: dict[str, Any]) -> list[str]:
    from hmralign.structures.counted import counted

    said = [f"{document['facts']['name']}: {counted(document['persons'], 'person')} can be used"]
    for why, entry in document["left_out"].items():
        said.append(f"  left out  {counted(entry['count'], 'record')} {why}: {', '.join(entry['first'])}")
    said.append(f"  body      {document['facts']['body']}")
    said.append(f"  keypoints {document['facts']['keypoints']}")
    said.append(f"  boxes     {document['facts']['crop']}")
    if document["photos_missing"]:
        said.append(f"  photos    of {counted(document['photos_missing'], 'person')} are not there")
    measured = {
        "off_points_px": "labelled joints from the points of the files, pixels",
        "off_keypoints_px": "labelled bodies' keypoints from those that were detected or marked, pixels",
        "off_joints_mm": "labelled joints from the joints of the files about the pelvis, mm",
        "off_places_mm": "labelled pelvis from that of the files, mm",
    }
    for name, what in measured.items():
        found = document[name]
        said.append(f"  {what}: " + ("the files say nothing" if found is None
                                     else f"median {found['median']:g}, 95 % below {found['p95']:g}"))  # fmt: skip
    return said
