"""Hand boxes of the optional shared photos, and detections inside them, kept between runs of the benchmarks.

Photos are looked for in `--photos`; the hand boxes are `benchmarks/data/photo_people.json`.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hmralign.data.images import load_image
from hmralign.detection.detection import Detection, OtherReading
from hmralign.detection.mediapipe_detector import MediapipeDetector
from hmralign.detection.person_mask import PersonMask

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT.parent / "shared" / "data" / "photos"
CACHE = ROOT / "runs" / "cache" / "detections"


@dataclass(frozen=True)
class BoxedPerson:
    photo: Path
    person: str
    box: tuple[float, ...]

    @property
    def moment(self) -> str:
        """Frame of the gym photos: t040 or t080."""
        return next((part for part in self.photo.stem.split("_") if part.startswith("t0")), "")

    @property
    def view(self) -> str:
        return self.photo.stem.rsplit("_", 1)[-1]


def boxed_people(photos: Path = PHOTOS) -> list[BoxedPerson]:
    listed = json.loads((ROOT / "benchmarks/data/photo_people.json").read_text())["photos"]
    return [
        BoxedPerson(photos / name, str(p["id"]), tuple(p["box"]))
        for name, entry in sorted(listed.items())
        for p in entry["people"]
        if (photos / name).exists()
    ]


def detect(detector: MediapipeDetector, case: BoxedPerson, rgb: np.ndarray | None = None) -> Detection | None:
    """Detection in the hand box; `rgb` replaces the photo (a changed copy of it), and is not cached."""
    if rgb is not None:
        return detector.detect_in_box(rgb, np.float32(case.box))
    code = b"".join(p.read_bytes() for p in sorted((ROOT / "src/hmralign/detection").glob("*.py")))
    key = hashlib.sha256(code + case.photo.read_bytes() + repr((case.box, detector.name)).encode()).hexdigest()[:24]
    path = CACHE / f"{key}.npz"
    if not path.exists():
        found = detector.detect_in_box(load_image(case.photo).rgb, np.float32(case.box))
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **_arrays(found))
    with np.load(path, allow_pickle=False) as data:
        return _detection(dict(data), detector.name)


def _arrays(found: Detection | None) -> dict[str, np.ndarray]:
    if found is None:
        return {"found": np.array(False)}
    arrays = {"found": np.array(True), "keypoints": found.keypoints, "confidence": found.confidence, "box": found.box}
    arrays |= {"score": np.float32(found.score), "landmarks3d": found.landmarks3d}
    if found.mask is not None:
        arrays |= {"alpha": found.mask.alpha, "region": np.array(found.mask.region)}
    if (other := found.alternative) is not None:
        arrays |= {"other_keypoints": other.keypoints, "other_confidence": other.confidence}
        arrays |= {"other_detector": np.array(other.detector), "exchanged": np.array(other.exchanged)}
    return arrays


def _detection(data: dict[str, np.ndarray], detector: str) -> Detection | None:
    """A kept detection, with another network's reading of the sides, whose 3D landmarks are not kept."""
    if not bool(data["found"]):
        return None
    mask = PersonMask(data["alpha"], tuple(data["region"].tolist())) if "alpha" in data else None
    score, other = float(data["score"]), None
    if "exchanged" in data:
        parts = tuple(str(part) for part in data["exchanged"])
        named = str(data["other_detector"])
        other = OtherReading(data["other_keypoints"], data["other_confidence"], None, named, parts)  # pyright: ignore
    return Detection(
        data["keypoints"], data["confidence"], data["box"], score, mask, data["landmarks3d"], detector,
        alternative=other,
    )  # fmt: skip


def image_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size
