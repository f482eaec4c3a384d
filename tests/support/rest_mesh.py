"""The shaped mesh before it is posed, by the definition of a linear body model."""

import torch
from torch import Tensor

from hmralign.body.model import BodyModel


def rest_vertices(model: BodyModel, betas: Tensor) -> Tensor:
    """Template plus shape directions, without pose correctives; (*batch, vert, 3) in metres."""
    return model.v_template + torch.einsum("vck,...k->...vc", model.shapedirs, betas)
