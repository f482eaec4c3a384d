"""A small random SMPL-shaped body with every optional part: pose correctives and a keypoint regressor."""

import numpy as np
import torch

from hmralign.body.model import BodyModel
from hmralign.structures import BodyParams


def toy_arrays(vertices: int = 60, betas: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def convex(rows: int, columns: int) -> np.ndarray:
        return rng.dirichlet(np.full(columns, 0.3), rows)

    return {
        "v_template": rng.normal(0, 0.5, (vertices, 3)),
        "shapedirs": rng.normal(0, 0.02, (vertices, 3, betas)),
        "posedirs": rng.normal(0, 0.01, (vertices, 3, 207)),
        "weights": convex(vertices, 24),
        "faces": rng.integers(0, vertices, (80, 3)),
        "J_regressor": convex(24, vertices),
        "keypoint_regressor": convex(27, vertices),
    }


def toy_body(dtype: torch.dtype = torch.float64, posedirs: bool = True, seed: int = 0) -> BodyModel:
    arrays = toy_arrays(seed=seed)
    if not posedirs:
        arrays["posedirs"] = None
    return BodyModel.from_arrays(name="toy", leaf_vertex_ids=(0, 1, 2, 3, 4), dtype=dtype, **arrays)


def random_params(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> BodyParams:
    generator = torch.Generator().manual_seed(seed)
    quat, _ = torch.linalg.qr(torch.randn((*shape, 24, 3, 3), generator=generator, dtype=torch.float64))
    rotmats = quat * torch.linalg.det(quat)[..., None, None]
    betas = torch.randn((*shape, 10), generator=generator, dtype=torch.float64)
    transl = torch.randn((*shape, 3), generator=generator, dtype=torch.float64)
    return BodyParams(*(t.to(dtype) for t in (rotmats[..., 0, :, :], rotmats[..., 1:, :, :], betas, transl)))
