"""Keypoint files of clips: one file, or one of OpenPose's per frame, that gives the people of every frame.

| file | which entries are of frame 7 of `dance.mp4` | of the frame `shot_0007.png` of a folder |
| --- | --- | --- |
| AlphaPose | `image_id` "7.jpg" | `image_id` "shot_0007.png" |
| COCO results | `image_id` 7 | `image_id` 7, the number in the name |
| COCO annotations | the image whose file name ends in the number 7 | the image of that file name |
| OpenPose folder | `dance_000000000007_keypoints.json` | `shot_0007_keypoints.json` |

Frames count from 0. A frame that nothing is said of has no people.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from hmralign.detection.detection import Detection
from hmralign.detection.keypoint_files import FileKind, file_name_of, load_json, people_in, recognise
from hmralign.structures import InputError

logger = logging.getLogger("hmralign.detection")

_OPENPOSE_END = "_keypoints"


class FrameKeypoints:
    """People by frame, from a file that is parsed once, or from a folder of OpenPose's files."""

    def __init__(self, path: str | Path, *, by_name: bool):
        """`by_name` for a folder of frames, whose file names the entries give; else entries are found by number.

        Raises InputError where there is nothing to read, or it says nothing about frames.
        """
        self.path, self._by_name = Path(path), by_name
        self._there: set[str] = set()
        self.frames_with_left_out = 0
        """In how many of the frames asked for somebody was left out; the first is warned of."""
        if self.path.is_dir():
            self._kind: FileKind = "openpose"
            self._entries: dict[str, Any] = self._openpose_files()
        else:
            content = load_json(self.path)
            self._kind = recognise(content, self.path)
            self._entries = self._split(content)
        if not self._entries:
            raise InputError(f"'{self.path}' gives people for no frame")

    def people(self, number: int, name: str, size: tuple[int, int]) -> list[Detection]:
        """The people of a frame; `name` is its file's, `size` its (height, width). Errors as `read_people`."""
        key = self._key_of(number, name)
        if key not in self._entries:
            return []
        content = self._entries[key]
        if isinstance(content, Path):
            return people_in(load_json(content), content, name, size, kind=self._kind, tell=self._tell)
        image, part = content
        return people_in(part, self.path, image, size, kind=self._kind, tell=self._tell)

    def _tell(self, sentence: str) -> None:
        """Warn once: a clip may have thousands of frames alike."""
        self.frames_with_left_out += 1
        if self.frames_with_left_out == 1:
            logger.warning("%s (of further frames the number is told at the end)", sentence)

    def tell(self, number: int, name: str) -> None:
        """Say that the clip has this frame."""
        self._there.add(self._key_of(number, name))

    def unused(self) -> int:
        """How many frames the file speaks of that the clip was not said to have."""
        return len(self._entries.keys() - self._there)

    def _key_of(self, number: int, name: str) -> str:
        if not self._by_name:
            return str(number)
        return str(_last_number(name)) if self._kind == "coco_results" else _stem(name)

    def _openpose_files(self) -> dict[str, Any]:
        found = {}
        for file in sorted(self.path.glob(f"*{_OPENPOSE_END}.json")):
            stem = file.stem[: -len(_OPENPOSE_END)]
            found[stem if self._by_name else str(_last_number(stem))] = file
        return found

    def _split(self, content: Any) -> dict[str, Any]:
        """Key of the frame -> (name under which its people are looked up, the part of the file that is about it)."""
        if self._kind in ("alphapose", "coco_results"):
            entries: dict[Any, list] = defaultdict(list)
            for entry in content:
                if not isinstance(entry, dict) or "image_id" not in entry:
                    raise InputError(f"'{self.path}': expected a list of objects with an image_id, one per person")
                entries[entry["image_id"]].append(entry)
            return {self._entry_key(str(image)): (str(image), part) for image, part in entries.items()}
        if self._kind == "coco_annotations":
            return self._coco_annotations(content)
        raise InputError(
            f"'{self.path}' is a file of {self._kind}, which speaks of one picture; expected the keypoints of all "
            "frames: AlphaPose, COCO, or a folder of OpenPose's files"
        )

    def _coco_annotations(self, content: Any) -> dict[str, Any]:
        people: dict[Any, list] = defaultdict(list)
        for annotation in content["annotations"]:
            if isinstance(annotation, dict):
                people[annotation.get("image_id")].append(annotation)
        found = {}
        for image in content["images"]:
            if isinstance(image, dict) and isinstance(image.get("file_name"), str):
                part = {"images": [image], "annotations": people.get(image.get("id"), [])}
                found[self._entry_key(image["file_name"])] = (image["file_name"], part)
        return found

    def _entry_key(self, image: str) -> str:
        if self._by_name and self._kind != "coco_results":
            return _stem(image)
        return str(_last_number(image))


def _stem(name: str) -> str:
    return Path(file_name_of(name)).stem


def _last_number(name: str) -> int | None:
    """The last number in a name without its suffix.

    >>> _last_number("shot_0007.png")
    7
    """
    digits = re.findall(r"[0-9]+", _stem(name))
    return int(digits[-1]) if digits else None
