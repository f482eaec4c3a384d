"""What is said of made views of persons: by the judge, by PoseScore, and by comparison with the true views.

| figure | better | says |
| --- | --- | --- |
| `mpjpe`, `pa_mpjpe` | lower | metres between the joints that the judge reads off the views and the true ones |
| `pose_score` | higher | the reward, which a model that is trained on it may come to deceive |
| `psnr`, `ssim` | higher | likeness of pixels; of side views alone, since the front is given |
| `soft_iou` | higher | overlap of masks, of side views |
| `haze` | as of true views | share of the masks of side views that is neither there nor not |

Overlap and likeness of pixels have been seen to rise while side views turned into haze: they guard nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.metrics.image_quality import haze, psnr, soft_iou, ssim
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.models.multiview.judge import Judge
from hmralign.models.multiview.pose_score import PoseScore
from hmralign.models.multiview.skeleton_maps import skeleton_maps
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.ring_persons import RingPersons, joint_pixels

SPAN = 2.0
"""White minus black of a view's channels: normals reach from -1 to 1."""


@dataclass(frozen=True)
class ViewCritic:
    """The judge and the score of one ring."""

    judge: Judge
    score: PoseScore
    ring: RingCameras
    line_width: float = 0.8
    """Standard deviation across a bone of the skeleton maps, pixels, as the skeleton network was trained."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.score.network.parameters()).device

    def targets(self, joints: Float[Tensor, "*person 24 3"]) -> Float[Tensor, "*person view 23 h w"]:
        """Skeleton maps of joints in metres from the middle of the ring, on the device of the networks."""
        return skeleton_maps(joint_pixels(joints.to(self.device), self.ring), self.ring.size, self.line_width)

    @torch.no_grad()
    def hypothesis_scores(
        self, views: Float[Tensor, "person view 4 h w"], joints: Float[Tensor, "person hyp 24 3"]
    ) -> Float[Tensor, "person hyp"]:
        """PoseScore as a critic of hypotheses: how well each one's bones lie where the person's views have them.

        Joints are metres from the middle of each hypothesis's own body, as `RingPersons.joints`.
        """
        hyp = joints.shape[1]
        target = self.targets(joints)  # (B, M, V, 23, h, w)
        seen = views[:, None].expand(-1, hyp, -1, -1, -1, -1)
        return self.score(seen.flatten(0, 1), target.flatten(0, 1)).unflatten(0, (len(views), hyp))

    @torch.no_grad()
    def figures(self, views: Float[Tensor, "person view 4 h w"], true: RingPersons) -> dict[str, Tensor]:
        """Figures of each person, by name, on the CPU. Raises InputError for views not finite or not of this ring."""
        views, true = views.to(self.device), true.to(self.device)
        read, pixels = self.judge(views), true.pixels.float()
        scores = [self.score(v, self.targets(j)) for v, j in zip(views.split(64), true.joints.split(64), strict=True)]
        sides, true_sides = views[:, 1:], pixels[:, 1:]
        found = {
            "mpjpe": mpjpe(read, true.joints, root=0),
            "pa_mpjpe": pa_mpjpe(read, true.joints),
            "pose_score": torch.cat(scores),
            "psnr": psnr(sides, true_sides, SPAN).mean(-1),
            "ssim": ssim(sides, true_sides, SPAN).mean(-1),
            "soft_iou": soft_iou(sides[:, :, 3], true_sides[:, :, 3]).mean(-1),
            "haze": haze(sides[:, :, 3]).mean(-1),
        }
        return {name: values.cpu() for name, values in found.items()}
