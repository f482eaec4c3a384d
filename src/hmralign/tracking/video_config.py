"""How the people of a clip are recovered."""

from __future__ import annotations

from dataclasses import dataclass, field

from hmralign.tracking.association import AssociationConfig
from hmralign.tracking.cuts import CutConfig
from hmralign.tracking.linking import LinkConfig
from hmralign.tracking.smoothing import SmoothingConfig


@dataclass(frozen=True)
class VideoConfig:
    """What is done with the answers of the frames; how a frame is answered is `RecoverConfig`."""

    association: AssociationConfig = field(default_factory=AssociationConfig)
    """Who is who."""
    cuts: CutConfig = field(default_factory=CutConfig)
    """Where every track ends."""
    links: LinkConfig = field(default_factory=LinkConfig)
    """Which hypotheses belong together."""
    near_path: float = 0.1
    """Hypotheses of a frame count by how near they are to the linked one: metres at which the weight is e^-1/2."""
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    """How smooth motion is."""
    least_sightings: int = 3
    """Tracks with fewer are left out, and counted, unless the clip itself is shorter."""
    least_share: float = 0.5
    """Tracks that were seen in a smaller share of their own frames are left out, and counted: what a detector sees now
    and then is mostly nobody."""
    chunk_frames: int = 64
    """Frames that are committed together."""
