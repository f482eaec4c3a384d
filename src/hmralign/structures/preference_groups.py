"""Groups of hypotheses for persons, as a critic scores them and alignment trains on them."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError
from hmralign.structures.hypotheses import Hypotheses
from hmralign.structures.observation import Example


@dataclass(frozen=True)
class PreferenceGroups:
    """One group per person; `hypotheses` have axes (group, hyp), `example` one axis.

    `x_0` is what the policy samples, None for bodies that another system predicted. `example.annotation` is None unless
    the source has truth and it was asked for. `crops` are JPEG files of the persons, where there are photos, and
    `crop_windows` the parts of the photos that they show, (x0, y0, x1, y1) in pixels.
    """

    ids: tuple[str, ...]
    x_0: Float[Tensor, "group hyp dims"] | None
    hypotheses: Hypotheses
    example: Example
    crops: tuple[bytes | None, ...] | None = None
    crop_windows: Float[Tensor, "group 4"] | None = None

    def __post_init__(self) -> None:
        """Raise InputError for numbers that do not fit together."""
        groups = self.hypotheses.joints.shape[0]
        if len(self.ids) != groups or len(self.example.observation.box) != groups:
            raise InputError(f"{counted(len(self.ids), 'name')} for {counted(groups, 'group')} of hypotheses")
        if self.x_0 is not None and tuple(self.x_0.shape[:2]) != tuple(self.hypotheses.joints.shape[:2]):
            raise InputError("samples and bodies are not of the same groups")
        for name, part in (("pictures", self.crops), ("windows of pictures", self.crop_windows)):
            if part is not None and len(part) != groups:
                raise InputError(f"{len(part)} {name} for {counted(groups, 'group')} of hypotheses")
        landmarks, truth = self.example.landmarks3d, self.example.annotation
        for name, part in (("landmarks", landmarks and landmarks.confidence), ("annotations", truth and truth.joints)):
            if part is not None and len(part) != groups:
                raise InputError(
                    f"{name} of {counted(len(part), 'person')} for {counted(groups, 'group')} of hypotheses"
                )

    def __len__(self) -> int:
        return len(self.ids)
