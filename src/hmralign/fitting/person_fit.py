"""What the bodies of observed persons are fitted to, and the two things that are done with it: refine, and place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hmralign.body.lbs import posed_joints
from hmralign.body.model import BodyModel
from hmralign.fitting.evidence import Evidence, KeypointNoise, predict
from hmralign.fitting.keypoint_update import RefinementConfig, place, refine_group
from hmralign.fitting.placement import place_in_image
from hmralign.models.person_frame import PersonFrame, person_frame
from hmralign.structures import BodyParams, Hypotheses, Observation, PersonGroup


@dataclass(frozen=True)
class PersonFit:
    """Observed persons (one batch axis) with the body that is fitted to them, and how.

    Everything that turns a `PersonGroup` into bodies in the photo goes through here.
    """

    body: BodyModel
    observation: Observation
    frame: PersonFrame
    evidence: Evidence
    config: RefinementConfig

    @staticmethod
    def of(
        body: BodyModel, observation: Observation, noise: KeypointNoise, config: RefinementConfig | None = None
    ) -> PersonFit:
        """The fit of persons whose keypoints have that noise; `config` says how groups are refined."""
        frame = person_frame(observation)
        evidence = Evidence(frame.keypoints_tan, observation.confidence, noise)
        return PersonFit(body, observation, frame, evidence, config or RefinementConfig())

    def refining_by(self, config: RefinementConfig) -> PersonFit:
        """The same persons, refined in another way."""
        return replace(self, config=config)

    def refined(self, group: PersonGroup, doubt_of: PersonGroup | None = None) -> PersonGroup:
        """The group moved onto the keypoints; persons with fewer than two observed keypoints stay as they are.

        Bodies move along the directions in which their group is uncertain, or `doubt_of`, the group they come from.
        """
        prior = None if doubt_of is None else doubt_of.rotmats
        return PersonGroup(*refine_group(self.body, group.rotmats, group.betas, self.evidence, self.config, prior))

    def bodies(self, group: PersonGroup) -> BodyParams:
        """Bodies in the `cam` frame, metres, pelvis where the keypoints put it; axes (person, hyp). Differentiable."""
        points = predict(self.body, group.rotmats, group.betas, self.evidence.noise.offsets, derivatives=False).points
        residual = place(points, self.evidence, self.config)
        return place_in_image(self.body, group.rotmats, group.betas, points, residual, self.observation, self.frame)

    def hypotheses(self, group: PersonGroup) -> Hypotheses:
        """The same bodies with their joints."""
        placed = self.bodies(group)
        return Hypotheses(placed, posed_joints(self.body, placed))
