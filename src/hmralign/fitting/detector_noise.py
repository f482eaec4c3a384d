"""What is known about the noise of a detector's keypoints, by the detector's name."""

from __future__ import annotations

import torch

from hmralign.data.synthetic.observation_noise import SHIPPED_NOISE, load_measured_noise
from hmralign.fitting.evidence import KeypointNoise

GENERIC_SIGMA = (0.06, 0.03, 0.02, 0.015, 0.012)
"""Noise per confidence bin for detectors nobody measured, in shares of the body's height."""


def noise_of(detector: str) -> KeypointNoise:
    """Measured noise and landmark offsets of a detector; generic noise and no offsets where none were measured.

    `detector` is a name, or the path of an npz file of noise measured for it. Raises InputError for a file that is
    none.
    """
    if detector in SHIPPED_NOISE or detector.endswith(".npz"):
        measured = load_measured_noise(detector)
        return KeypointNoise(measured.sigma_bins, measured.offsets)
    return KeypointNoise(torch.tensor(GENERIC_SIGMA).expand(27, -1), torch.zeros(27, 3))
