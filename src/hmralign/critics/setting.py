"""What a critic is made for."""

from __future__ import annotations

from dataclasses import dataclass

from hmralign.body.model import BodyModel
from hmralign.critics.draws import Generators
from hmralign.fitting.evidence import KeypointNoise
from hmralign.storage.seeds import seeded


@dataclass(frozen=True)
class CriticSetting:
    """The hypotheses' body, the keypoints' noise, and what some critics need besides."""

    body: BodyModel
    """The body model of the hypotheses."""
    noise: KeypointNoise
    """The noise of keypoints and landmarks, with the detector's offsets."""
    seed: int = 0
    """Seed of critics that draw."""
    correlation: float = 0.5
    """Quality of `oracle-noisy`: Spearman, on average over groups."""
    image_size: tuple[int, int] | None = None
    """Width and height in pixels where they are everybody's, for silhouettes."""
    persons: tuple[str, ...] | None = None
    """Names of those whom the critic will judge in its one call; None where it may be asked about anybody."""

    def generators(self, critic: str) -> Generators:
        """What a critic of that name draws from: for each of the persons by its name alone, or one for everybody."""
        if self.persons is None:
            return seeded(self.seed, critic)
        return tuple(seeded(self.seed, critic, person) for person in self.persons)
