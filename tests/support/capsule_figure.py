"""A person made of capsules, facing the camera: stands in for a body mesh where only pixels matter."""

import numpy as np
import torch
import trimesh

_BONES = {
    "torso": ((0, -0.05, 0), (0, -0.45, 0), 0.15),
    "head": ((0, -0.68, 0), (0, -0.75, -0.01), 0.1),
    "left arm": ((0.2, -0.5, 0), (0.45, -0.25, -0.05), 0.05),
    "left forearm": ((0.45, -0.25, -0.05), (0.62, -0.45, -0.2), 0.04),
    "right arm": ((-0.2, -0.5, 0), (-0.32, -0.2, 0.05), 0.05),
    "right forearm": ((-0.32, -0.2, 0.05), (-0.35, 0.05, -0.05), 0.04),
    "left leg": ((0.1, 0, 0), (0.13, 0.45, -0.03), 0.075),
    "left shin": ((0.13, 0.45, -0.03), (0.14, 0.88, 0.03), 0.055),
    "right leg": ((-0.1, 0, 0), (-0.16, 0.44, -0.12), 0.075),
    "right shin": ((-0.16, 0.44, -0.12), (-0.17, 0.86, 0.02), 0.055),
}


def capsule_figure(count: int = 1, place=(0.0, 0.0, 3.5), spread: float = 0.06, seed: int = 0, sections: int = 10):
    """Vertices (count, V, 3) in metres, `cam` frame, and faces (F, 3); limb ends jitter by `spread` metres."""
    generator = np.random.default_rng(seed)
    bodies, faces = [], np.zeros((0, 3), int)
    for number in range(count):
        jitter = {tuple(end): generator.normal(0, spread, 3) * (number > 0) for b in _BONES.values() for end in b[:2]}
        parts = [
            _capsule(np.array(a) + jitter[tuple(a)], np.array(b) + jitter[tuple(b)], r, sections)
            for a, b, r in _BONES.values()
        ]
        mesh = trimesh.util.concatenate(parts)
        bodies.append(np.asarray(mesh.vertices) + np.array(place))
        faces = np.asarray(mesh.faces)
    return torch.tensor(np.stack(bodies), dtype=torch.float32), torch.tensor(faces.copy())


def _capsule(a, b, radius, sections):
    length = float(np.linalg.norm(b - a))
    part = trimesh.creation.capsule(height=length, radius=radius, count=(sections, sections))
    part.apply_translation([0, 0, -radius - part.bounds[0, 2]])  # the lower cap's centre to the origin
    direction = trimesh.geometry.align_vectors([0, 0, 1], (b - a) / length)
    part.apply_transform(direction)
    part.apply_translation(a)
    return part
