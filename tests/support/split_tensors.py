"""All arrays of a split, of persons that are in memory."""

from torch import Tensor

from hmralign.data.shards import shard_tensors
from hmralign.data.synthetic.synthwild import Slices
from hmralign.data.synthwild_folder import slice_tensors
from hmralign.structures import Example


def split_tensors(example: Example, slices: Slices) -> dict[str, Tensor]:
    """What the files of a split hold."""
    return shard_tensors(example) | slice_tensors(slices)
