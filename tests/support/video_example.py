"""A recoverer that is quick, and people of clips by frame."""

from hmralign import Recoverer
from hmralign.tracking.video_config import VideoConfig
from support.recover_example import tiny_checkpoint

HYPOTHESES = 4


def tiny_recoverer(folder, detector=None):
    weights = folder / "tiny.safetensors"
    if not weights.exists():  # written again it would have another hash
        tiny_checkpoint(weights)
    return Recoverer.load(weights, detector=detector, num_hypotheses=HYPOTHESES)


SMALL_CHUNKS = VideoConfig(chunk_frames=4)
