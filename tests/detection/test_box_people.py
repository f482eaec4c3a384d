"""People known only by a box get keypoints from a detector, or a clear refusal."""

from dataclasses import replace

import numpy as np
import pytest

from hmralign.detection.box_people import read_boxes_with_detector
from hmralign.detection.keypoint_files import whole_image_person
from hmralign.structures import InputError

IMAGE = np.zeros((40, 30, 3), np.uint8)
BOX = whole_image_person((40, 30))
SEEN = replace(BOX, confidence=np.ones(27, np.float32))


class OneAnswer:
    def __init__(self, answer):
        self.answer = answer
        self.boxes = []

    def __call__(self, image):
        return []

    def detect_in_box(self, image, box):
        self.boxes.append(box)
        return self.answer


def test_only_boxes_are_looked_at():
    detector = OneAnswer(replace(SEEN, score=0.5))
    people = read_boxes_with_detector([SEEN, BOX], IMAGE, detector)
    assert [p.score for p in people] == [1.0, 0.5]
    assert len(detector.boxes) == 1


def test_refusals():
    assert read_boxes_with_detector([SEEN], IMAGE, None) == [SEEN]
    with pytest.raises(InputError, match="person 1 is given only by a box"):
        read_boxes_with_detector([SEEN, BOX], IMAGE, None)
    with pytest.raises(InputError, match="nobody who fits the box"):
        read_boxes_with_detector([BOX], IMAGE, OneAnswer(None))
    assert read_boxes_with_detector([BOX, SEEN], IMAGE, OneAnswer(None), skip_missing=True) == [SEEN]
