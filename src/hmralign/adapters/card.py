"""What a data set says of itself: who made it, its licence, its frame, the files that are expected, where they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from hmralign.body.body_file import BodyFamily

NEVER_RUN = "never run on a real file here: the reader was written from descriptions and tested on stand-in files"


@dataclass(frozen=True)
class DatasetCard:
    """One published format."""

    name: str
    """As `--dataset` takes it."""
    title: str
    source: str
    """Who made it, with the paper."""
    licence: str
    frame: str
    """Frame and units of its files."""
    joint_set: str
    """Which joints its annotations name."""
    family: BodyFamily
    """Family of the body that its poses and shapes belong to."""
    keypoints: str
    """Whose keypoints the persons are observed with."""
    files: dict[str, str] = field(default_factory=dict)
    """Pattern below the folder -> what it is; `{split}` stands for the split."""
    splits: tuple[str, ...] = ("train", "val", "test")
    where: str = ""
    """Where the files are to be had."""
    tried: str = NEVER_RUN
    """What the reader has been run on."""
