"""The `pixel` model as a policy: `lite` in everything but what it sees of persons."""

from __future__ import annotations

from pathlib import Path

from hmralign.body.model import BodyModel
from hmralign.fitting.detector_noise import noise_of
from hmralign.models.pixel.checkpoint import load_pixel, save_pixel
from hmralign.models.pixel.pixel_model import PixelModel
from hmralign.policies.lite import LitePolicy


class PixelLitePolicy(LitePolicy):
    """A `PixelModel` with the body it is bound to. Persons must come with the pixels of their crops."""

    model: PixelModel

    @classmethod
    def load(cls, checkpoint: str | Path, body: BodyModel, *, num_steps: int = 5, detector: str = "mediapipe"):
        """From a checkpoint's name or path, on the device of the body. Errors as `load_pixel`."""
        model = load_pixel(checkpoint, body.skeleton_hash).to(body.v_template.device)
        return cls(model, body, num_steps=num_steps, noise=noise_of(detector))

    def save(self, path: Path, sources: tuple[str, ...]) -> Path:
        """Write a checkpoint that every command takes; `sources` say what it was trained on."""
        return save_pixel(path, self.model, self.body.skeleton_hash, half=False, sources=sources)

    @property
    def crop_side(self) -> int:
        """Side of the crops that the model was trained on, pixels."""
        return self.model.pixel_config.crop_side
