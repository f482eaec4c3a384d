"""A drawn person as the landmark network would report it: landmarks, and a mask of capsules around them."""

import numpy as np

from hmralign.detection.person_candidates import Finding, skeleton_distance

# x to the right, y down, in shares of the body's height, about the middle of the hips.
_PLACES = {
    0: (0, -0.40), 1: (0.01, -0.42), 2: (0.02, -0.42), 3: (0.03, -0.42), 4: (-0.01, -0.42), 5: (-0.02, -0.42),
    6: (-0.03, -0.42), 7: (0.05, -0.40), 8: (-0.05, -0.40), 9: (0.02, -0.37), 10: (-0.02, -0.37),
    11: (0.11, -0.29), 12: (-0.11, -0.29), 13: (0.17, -0.13), 14: (-0.17, -0.13), 15: (0.19, 0.02),
    16: (-0.19, 0.02), 17: (0.20, 0.06), 18: (-0.20, 0.06), 19: (0.19, 0.07), 20: (-0.19, 0.07), 21: (0.17, 0.05),
    22: (-0.17, 0.05), 23: (0.06, 0.0), 24: (-0.06, 0.0), 25: (0.08, 0.24), 26: (-0.08, 0.24), 27: (0.08, 0.46),
    28: (-0.08, 0.46), 29: (0.07, 0.48), 30: (-0.07, 0.48), 31: (0.11, 0.49), 32: (-0.11, 0.49), 33: (0, 0),
    34: (0, -0.5),
}  # fmt: skip


def stick_person(x=200.0, y=200.0, height=200.0, *, visibility=0.95, **fields) -> Finding:
    """An upright person seen from the front, hips at (x, y); extra fields go to `Finding`."""
    x, y, height = float(x), float(y), float(height)
    landmarks = np.zeros((35, 5), np.float32)
    for i, place in _PLACES.items():
        landmarks[i, :2] = (x + place[0] * height, y + place[1] * height)
    landmarks[:33, 3], landmarks[:, 4] = visibility, 1.0
    world = np.zeros((33, 3), np.float32)
    world[:, :2] = (landmarks[:33, :2] - landmarks[33, :2]) / height * 1.7
    given = {
        "landmarks": landmarks,
        "world": world,
        "alpha": np.zeros((64, 64), np.uint8),
        "region": (x, y, 1.25 * height, 0.0),
        "presence": 1.0,
        "detection": 0.9,
        "support": 3,
        "disagreement": 0.005,
    }
    bare = Finding(**given)
    alpha = np.where(skeleton_distance(bare) < 0.05, 255, 0).astype(np.uint8)
    return Finding(**{**given, "alpha": alpha, **fields})
