"""People in a photo with two models of the user's: RT-DETR finds boxes, ViTPose reads the keypoints in each.

Sources: Zhao et al. 2024 (RT-DETR), Lv et al. 2024 (RT-DETRv2); Xu et al. 2022 (ViTPose), Xu et al. 2023 (ViTPose+).
The networks are those of the `transformers` library; their weights lie in a folder:

    DIR/person/   RT-DETR or RT-DETRv2    config.json, preprocessor_config.json, model.safetensors
    DIR/pose/     ViTPose or ViTPose+     the same three; 17 keypoints (COCO) or 133 (COCO-WholeBody)
    DIR/noise.npz optional: the noise of these models, measured by benchmarks/noise/detector_noise.py

There is no person mask. Tested with random weights only: none of real models were at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, NUM_KEYPOINTS
from hmralign.detection.boxes import box_iou, checked_box
from hmralign.detection.catalogue import DetectorSetting
from hmralign.detection.detection import Detection, Detector
from hmralign.detection.heatmaps import cells_to_pixels, decode_heatmaps, region_of_box
from hmralign.detection.keypoint_conventions import COCO17, COCO_WHOLEBODY, KeypointConvention
from hmralign.detection.local_models import Architecture, LocalModel, file_hash, load_local_model, require_transformers
from hmralign.detection.mediapipe_landmarks import inside_image
from hmralign.structures import InputError
from hmralign.structures.counted import counted

CONVENTIONS = (COCO17, COCO_WHOLEBODY)
"""Keypoint sets that are understood; the number of heatmaps tells which it is."""
EXPERT = {COCO17.count: 0, COCO_WHOLEBODY.count: 5}
"""By number of keypoints. ViTPose+ has an expert per data set: COCO, AIC, MPII, AP-10K, APT-36K, COCO-WholeBody."""


@dataclass(frozen=True)
class VitposeDetectorConfig:
    """Whom and what to believe."""

    min_person: float = 0.5
    """Probability of a person below which a box is ignored."""
    max_overlap: float = 0.7
    """Intersection over union above which the less certain of two boxes is taken for the same person."""
    max_people: int = 50
    """People read at most, the most certain first."""
    min_confidence: float = 0.1
    """Height of a heatmap's peak below which its keypoint counts as not observed."""
    min_keypoints: int = 3
    """Observed keypoints below which there is nobody: fewer say neither size nor orientation."""
    flip_test: bool = True
    """Average with the reading of the mirrored crop, as ViTPose is evaluated; twice the time."""
    batch_size: int = 16
    """Crops per pass of ViTPose."""


class VitposeDetector:
    """Finds people with RT-DETR and reads them with ViTPose, both from `folder`; nothing is fetched.

    Confidence is the height of the heatmap's peak, cut to 0-1: high where the network is sure, not a probability.
    Raises InputError when transformers is not installed, a model is missing, damaged or of another kind, or its weights
    are pickles.
    """

    def __init__(
        self,
        folder: str | Path,
        config: VitposeDetectorConfig | None = None,
        *,
        device: str | torch.device = "cpu",
    ):
        folder = Path(folder).expanduser()
        self.config = config or VitposeDetectorConfig()
        self._device = torch.device(device)
        library = require_transformers()
        _require_both(folder)
        self._person = load_local_model(folder / "person", _person_architectures(library), device)
        self._pose = load_local_model(folder / "pose", (_pose_architecture(library),), device)
        self._person_label = _person_label(self._person, folder / "person")
        self._convention = _convention(self._pose, folder / "pose")
        self._crop_size = _crop_size(self._pose, folder / "pose")
        self._kept = [i for i, name in enumerate(KEYPOINT_NAMES) if name in self._convention.place]
        noise = folder / "noise.npz"
        self.noise_file = str(noise) if noise.is_file() else None
        """Measured noise of these models, where the folder has it."""
        self._versions = {
            "transformers": library.__version__,
            "person": self._person.config.model_type,
            "person_sha256": self._person.sha256,
            "pose": f"{self._pose.config.model_type}, {self._convention.name}",
            "pose_sha256": self._pose.sha256,
            "folder": folder.resolve().name,
            "settings": str(self.config),
        }
        if self.noise_file is not None:
            self._versions["noise_sha256"] = file_hash(noise)

    @property
    def versions(self) -> dict[str, str]:
        """Library, models and hashes behind the detector."""
        return dict(self._versions)

    @property
    def name(self) -> str:
        """`vitpose-` and a hash of models and settings: what decides the answers, whatever the folder is called."""
        decisive = [v for k, v in sorted(self._versions.items()) if k.endswith("sha256")]
        return f"vitpose-{hashlib.sha256(repr((decisive, self.config)).encode()).hexdigest()[:12]}"

    def __call__(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """People in an RGB image, by the certainty of their boxes."""
        _require_image(image)
        boxes, scores = self._people(image)
        found = self._read(image, boxes)
        return [
            self._detection(box, score, keypoints, confidence)
            for box, score, (keypoints, confidence) in zip(boxes, scores, found, strict=True)
            if self._is_seen(confidence)
        ]

    def detect_in_box(
        self, image: UInt8[np.ndarray, "height width 3"], box: Float[np.ndarray, " 4"]
    ) -> Detection | None:
        """The person in a box (x0, y0, x1, y1), or None where hardly any keypoint is seen.

        The box goes to ViTPose as it is, which reads whoever fills it best: a tight box is the user's word for who is
        meant, and no other person is looked for. The score is the mean confidence of the observed keypoints.
        """
        _require_image(image)
        wanted = checked_box(box, image.shape[:2])
        ((keypoints, confidence),) = self._read(image, wanted[None])
        if not self._is_seen(confidence):
            return None
        return self._detection(wanted, float(confidence[confidence > 0].mean()), keypoints, confidence)

    def _is_seen(self, confidence: Float32[np.ndarray, " kp"]) -> bool:
        return int((confidence > 0).sum()) >= self.config.min_keypoints

    def _detection(
        self,
        box: Float64[np.ndarray, " 4"],
        score: float,
        keypoints: Float32[np.ndarray, "kp 2"],
        confidence: Float32[np.ndarray, " kp"],
    ) -> Detection:
        return Detection(
            keypoints, confidence, box.astype(np.float32), score, detector=self.name, noise_file=self.noise_file
        )

    @torch.inference_mode()
    def _people(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Float64[np.ndarray, "person 4"], list[float]]:
        """Boxes in pixels, cut to the image, and their scores, the most certain first."""
        height, width = image.shape[:2]
        pixels = self._person.processor(
            images=[image], input_data_format="channels_last", return_tensors="pt"
        ).pixel_values
        outputs = self._person.model(pixel_values=pixels.to(self._device))
        (answer,) = self._person.processor.post_process_object_detection(
            outputs, self.config.min_person, [(height, width)], use_focal_loss=self._person.config.use_focal_loss
        )
        is_person = answer["labels"] == self._person_label
        # The library counts from the image's left edge; our pixel (0, 0) is a centre.
        boxes = answer["boxes"][is_person].double().cpu().numpy() - 0.5
        boxes = np.clip(boxes, -0.5, np.array([width, height, width, height]) - 0.5)
        scores = answer["scores"][is_person].double().cpu().numpy()
        chosen = distinct_boxes(boxes, scores, self.config.max_overlap)[: self.config.max_people]
        return boxes[chosen], scores[chosen].tolist()

    def _read(
        self, image: UInt8[np.ndarray, "height width 3"], boxes: Float64[np.ndarray, "person 4"]
    ) -> list[tuple[Float32[np.ndarray, "kp 2"], Float32[np.ndarray, " kp"]]]:
        """Keypoints (27, 2) in pixels and confidence (27,) of the person in each box."""
        answers = []
        for start in range(0, len(boxes), self.config.batch_size):
            batch = boxes[start : start + self.config.batch_size]
            heatmaps = self._heatmaps(self._crops(image, batch)).cpu().numpy()
            cells, peaks = decode_heatmaps(heatmaps)
            rows, columns = self._crop_size
            for i, box in enumerate(batch):
                points = cells_to_pixels(cells[i], region_of_box(box, columns / rows), heatmaps.shape[2:])
                answers.append(self._keypoints(points, peaks[i], image.shape[:2]))
        return answers

    def _crops(
        self, image: UInt8[np.ndarray, "height width 3"], boxes: Float64[np.ndarray, "person 4"]
    ) -> Float[Tensor, "person 3 row column"]:
        """What ViTPose sees: `region_of_box` on its grid, normalised as the folder says."""
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        return self._pose.processor(
            images=[image],
            boxes=[corner_and_size.tolist()],
            do_affine_transform=True,
            normalize_factor=200.0,
            input_data_format="channels_last",
            return_tensors="pt",
        ).pixel_values.to(self._device)

    @torch.inference_mode()
    def _heatmaps(self, crops: Float[Tensor, "person 3 row column"]) -> Float[Tensor, "person kept rows columns"]:
        """Heatmaps of those of our keypoints that the network has, in our order."""
        places = [self._convention.place[KEYPOINT_NAMES[i]] for i in self._kept]
        expert = torch.full((len(crops),), EXPERT[self._convention.count], device=crops.device)
        heatmaps = self._pose.model(pixel_values=crops, dataset_index=expert).heatmaps[:, places]
        if not self.config.flip_test:
            return heatmaps.float()
        mirrored = self._pose.model(pixel_values=crops.flip(-1), dataset_index=expert).heatmaps[:, places]
        other_side = [self._kept.index(MIRROR_KEYPOINTS[i]) for i in self._kept]
        return (heatmaps.float() + mirrored[:, other_side].flip(-1).float()) / 2

    def _keypoints(
        self, points: Float64[np.ndarray, "kept 2"], peaks: Float64[np.ndarray, " kept"], image_size: tuple[int, int]
    ) -> tuple[Float32[np.ndarray, "kp 2"], Float32[np.ndarray, " kp"]]:
        keypoints, confidence = np.zeros((NUM_KEYPOINTS, 2), np.float32), np.zeros(NUM_KEYPOINTS, np.float32)
        observed = (peaks >= self.config.min_confidence) & inside_image(points, image_size)
        keypoints[self._kept] = points
        confidence[self._kept] = np.where(observed, np.clip(peaks, 0.0, 1.0), 0.0)
        return keypoints, confidence


def distinct_boxes(
    boxes: Float64[np.ndarray, "box 4"], scores: Float64[np.ndarray, " box"], max_overlap: float
) -> list[int]:
    """Indices of the boxes without repetition, best first; boxes thinner than two pixels are left out.

    >>> boxes = np.array([[0.0, 0, 9, 9], [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 41, 10]])
    >>> distinct_boxes(boxes, np.array([0.6, 0.9, 0.7, 0.8]), 0.7)
    [1, 2]
    """
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        wide = (boxes[i, 2:] - boxes[i, :2] >= 2).all()
        if wide and all(box_iou(boxes[i], boxes[k]) <= max_overlap for k in kept):
            kept.append(i)
    return kept


def _person_architectures(library) -> tuple[Architecture, ...]:
    # The processors that work on NumPy and Pillow: the others of this library need torchvision.
    processor = library.RTDetrImageProcessorPil
    return (
        Architecture("rt_detr", "rt_detr_resnet", library.RTDetrConfig, library.RTDetrForObjectDetection, processor),
        Architecture(
            "rt_detr_v2", "rt_detr_resnet", library.RTDetrV2Config, library.RTDetrV2ForObjectDetection, processor
        ),
    )


def _pose_architecture(library) -> Architecture:
    return Architecture(
        "vitpose",
        "vitpose_backbone",
        library.VitPoseConfig,
        library.VitPoseForPoseEstimation,
        library.VitPoseImageProcessorPil,
    )


def _require_both(folder: Path) -> None:
    missing = [name for name in ("person", "pose") if not (folder / name).is_dir()]
    if missing:
        raise InputError(
            f"'{folder}' lacks {' and '.join(missing)}; expected the folders person (RT-DETR) and pose (ViTPose), each "
            "with config.json, preprocessor_config.json and model.safetensors; nothing is downloaded"
        )


def _person_label(model: LocalModel, folder: Path) -> int:
    labels = {str(name).strip().lower(): int(number) for number, name in model.config.id2label.items()}
    if "person" not in labels:
        raise InputError(
            f"'{folder}' knows no label 'person', it has {counted(len(labels), 'label')}, such as {sorted(labels)[:3]}"
        )
    return labels["person"]


def _convention(model: LocalModel, folder: Path) -> KeypointConvention:
    """What the model's heatmaps are. Raises InputError for another number of them, or an expert it does not have."""
    count, experts = int(model.config.num_labels), int(model.config.backbone_config.num_experts)
    convention = next((c for c in CONVENTIONS if c.count == count), None)
    if convention is None:
        raise InputError(f"'{folder}' has {count} keypoints; expected 17 (COCO) or 133 (COCO-WholeBody)")
    if 1 < experts <= EXPERT[count]:
        raise InputError(
            f"'{folder}' has {experts} experts; {count} keypoints are read with number {EXPERT[count]} of ViTPose+"
        )
    return convention


def _crop_size(model: LocalModel, folder: Path) -> tuple[int, int]:
    """Rows and columns of ViTPose's input, on which network and processor must agree."""
    rows, columns = (int(v) for v in _pair(model.config.backbone_config.image_size))
    size = (int(model.processor.size["height"]), int(model.processor.size["width"]))
    if size != (rows, columns):
        raise InputError(
            f"'{folder}': preprocessor_config.json makes crops of {size}, the model expects {rows, columns}"
        )
    return rows, columns


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _require_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 8:
        raise InputError(
            f"the detector expects an RGB image (height, width, 3) of uint8, got {image.dtype} {image.shape}"
        )


def make_vitpose(setting: DetectorSetting) -> Detector:
    """The detector `vitpose`, of the models in a folder."""
    assert setting.folder is not None  # `wrong_folder` says so first
    return VitposeDetector(setting.folder, device=setting.device)
