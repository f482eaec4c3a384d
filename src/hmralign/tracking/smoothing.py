"""Smooth motion from noisy frames: the Rauch-Tung-Striebel smoother (1965) on rotations and on places.

Each joint's rotation, parent-relative, has a state of its own: where it is and how fast it turns, in the tangent space
at where it is (error state, Sola 2017, "Quaternion kinematics for the error-state Kalman filter", sec. 5). Motion is
of nearly constant velocity; the strength of the random acceleration is set so that the smoother forgets with the time
constant that was asked for. A second pass weighs down frames far off the first one's curve (Cauchy), so that what is
left of a wrong frame does not draw its neighbours.

With measurement variance r at distances dt, the acceleration's density is q = r dt / seconds^4: the stationary
smoother's memory is then about `seconds`, whatever the rate of the frames. Distances between frames may vary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from hmralign.structures import InputError
from hmralign.structures.counted import counted


@dataclass(frozen=True)
class SmoothingConfig:
    """How strongly motion is smoothed."""

    rotation_seconds: float = 0.07
    """Time constant of the rotations; 0 leaves them as they are."""
    place_seconds: float = 0.10
    """Time constant of the translation; 0 leaves it as it is."""
    passes: int = 2
    """Passes; each but the first weighs down the frames that are far off the curve of the one before."""
    outlier: float = 3.0
    """Standard deviations at which a frame has lost half of its say."""


@dataclass(frozen=True)
class Smoothed:
    """Values on the curve, and the variance per axis of a point of it if errors of the frames were independent."""

    values: np.ndarray
    variance: Float[np.ndarray, "frame item"]


def smooth_rotations(
    times: Float[np.ndarray, " frame"],
    rotmats: Float[np.ndarray, "frame joint 3 3"],
    variance: Float[np.ndarray, "frame joint"],
    seconds: float,
    config: SmoothingConfig | None = None,
) -> Smoothed:
    """Rotations on smooth curves, (frame, joint, 3, 3); `variance` is that of a frame per axis, radians^2.

    Raises InputError for times that do not grow and variances that are not positive.
    """
    from scipy.spatial.transform import Rotation

    frames, joints = rotmats.shape[:2]
    quats = Rotation.from_matrix(rotmats.reshape(-1, 3, 3)).as_quat().reshape(frames, joints, 4)
    found = _smooth(times, quats, variance, seconds, config or SmoothingConfig(), _turned, _turn_between)
    matrices = Rotation.from_quat(found.values.reshape(-1, 4)).as_matrix()
    return Smoothed(matrices.reshape(frames, joints, 3, 3), found.variance)


def smooth_places(
    times: Float[np.ndarray, " frame"],
    places: Float[np.ndarray, "frame item dims"],
    variance: Float[np.ndarray, "frame item"],
    seconds: float,
    config: SmoothingConfig | None = None,
) -> Smoothed:
    """Places on smooth curves, metres; `variance` is that of a frame per axis. Errors as `smooth_rotations`."""
    return _smooth(times, places, variance, seconds, config or SmoothingConfig(), np.add, lambda a, b: b - a)


def _turned(quats: np.ndarray, turns: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return (Rotation.from_quat(quats) * Rotation.from_rotvec(turns)).as_quat()


def _turn_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return (Rotation.from_quat(a).inv() * Rotation.from_quat(b)).as_rotvec()


_Plus = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _smooth(
    times: np.ndarray,
    measured: np.ndarray,
    variance: np.ndarray,
    seconds: float,
    config: SmoothingConfig,
    plus: _Plus,
    minus: _Plus,
) -> Smoothed:
    """`plus(x, d)` moves by a tangent vector, `minus(a, b)` is the tangent vector from a to b."""
    steps = np.diff(times)
    if len(times) != len(measured) or (steps <= 0).any():
        there = f"{counted(len(times), 'time')} for {counted(len(measured), 'frame')}"
        raise InputError(f"{there}; expected one for each, growing")
    if not (variance > 0).all():
        raise InputError("a measurement has a variance that is not positive; expected positive variances")
    if seconds <= 0 or len(times) < 3:
        return Smoothed(measured.copy(), variance.copy())
    noise = np.median(variance, axis=0) * float(np.median(steps)) / seconds**4
    found, weighed = None, variance
    for _ in range(max(config.passes, 1)):
        if found is not None:
            off = np.stack([minus(a, b) for a, b in zip(found.values, measured, strict=True)])
            scaled = (off**2).mean(-1) / variance
            # The frames' own scatter about the curve says what is far, as their stated variance is not of that.
            usual = np.maximum(np.median(scaled, axis=0), 1e-12)
            weighed = variance * (1 + scaled / usual / config.outlier**2)
        found = _two_sweeps(steps, measured, weighed, noise, plus, minus)
    assert found is not None
    return found


@dataclass
class _State:
    """Mean and covariance of (place, velocity), the same for all three axes of an item."""

    x: np.ndarray
    v: np.ndarray
    P: Float[np.ndarray, "item 2 2"]


def _two_sweeps(
    steps: np.ndarray, measured: np.ndarray, variance: np.ndarray, noise: np.ndarray, plus: _Plus, minus: _Plus
) -> Smoothed:
    frames, items = measured.shape[:2]
    state = _first_state(measured, variance, steps)
    filtered, predicted = [state], [state]
    for frame in range(1, frames):
        ahead = _predict(state, steps[frame - 1], noise, plus)
        state = _update(ahead, measured[frame], variance[frame], plus, minus)
        filtered.append(state)
        predicted.append(ahead)
    values, spread = np.empty_like(measured), np.empty((frames, items))
    for frame in range(frames - 1, -1, -1):
        if frame < frames - 1:
            state = _back(filtered[frame], predicted[frame + 1], state, steps[frame], plus, minus)
        values[frame], spread[frame] = state.x, state.P[:, 0, 0]
    return Smoothed(values, spread)


def _first_state(measured: np.ndarray, variance: np.ndarray, steps: np.ndarray) -> _State:
    """At the first frame, of unknown velocity."""
    items = measured.shape[1]
    P = np.zeros((items, 2, 2))
    P[:, 0, 0] = variance[0]
    P[:, 1, 1] = 100 * variance[0] / float(np.median(steps)) ** 2
    return _State(measured[0], np.zeros((items, 3)), P)


def _predict(state: _State, dt: float, noise: np.ndarray, plus: _Plus) -> _State:
    F = np.array([[1.0, dt], [0.0, 1.0]])
    Q = noise[:, None, None] * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    return _State(plus(state.x, state.v * dt), state.v, F @ state.P @ F.T + Q)


def _update(ahead: _State, measured: np.ndarray, variance: np.ndarray, plus: _Plus, minus: _Plus) -> _State:
    innovation = minus(ahead.x, measured)
    gain = ahead.P[:, :, 0] / (ahead.P[:, 0, 0] + variance)[:, None]
    P = ahead.P - gain[:, :, None] * ahead.P[:, None, 0, :]
    return _State(plus(ahead.x, gain[:, :1] * innovation), ahead.v + gain[:, 1:] * innovation, P)


def _back(now: _State, ahead: _State, later: _State, dt: float, plus: _Plus, minus: _Plus) -> _State:
    F = np.array([[1.0, dt], [0.0, 1.0]])
    C = now.P @ F.T @ np.linalg.inv(ahead.P)
    dx, dv = minus(ahead.x, later.x), later.v - ahead.v
    x = plus(now.x, C[:, :1, 0] * dx + C[:, :1, 1] * dv)
    v = now.v + C[:, 1:, 0] * dx + C[:, 1:, 1] * dv
    return _State(x, v, now.P + C @ (later.P - ahead.P) @ C.transpose(0, 2, 1))


def acceleration(times: Float[np.ndarray, " frame"], points: Float[np.ndarray, "frame *rest 3"]) -> Any:
    """Second differences of points by time, metres per second^2, (frame - 2, *rest, 3); distances may vary."""
    steps = np.diff(times).reshape(-1, *[1] * (points.ndim - 1))
    velocity = np.diff(points, axis=0) / steps
    return np.diff(velocity, axis=0) / ((steps[1:] + steps[:-1]) / 2)
