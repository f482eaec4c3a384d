"""Critics of a mix that remember what they said: a mix gives only the weighted sum."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.critics.critic import Critic, can_judge
from hmralign.critics.mix import MixCritic
from hmralign.structures import Example, Hypotheses


@dataclass
class RecordedCritic:
    """A critic that remembers what it last said."""

    critic: Critic
    _said: Tensor | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The critic's name."""
        return self.critic.name

    @property
    def needs_truth(self) -> bool:
        """Whether the critic needs ground truth."""
        return self.critic.needs_truth

    @property
    def scores(self) -> Float[Tensor, "person hyp"]:
        """What it last said. Raises ValueError where it was not asked yet."""
        if self._said is None:
            raise ValueError(f"critic {self.name!r} was not asked yet")
        return self._said

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """As the critic."""
        return can_judge(self.critic, example)

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores of the critic, kept."""
        self._said = self.critic(hypotheses, example)
        return self._said


def recorded_mix(mix: MixCritic) -> tuple[MixCritic, list[RecordedCritic]]:
    """The same mix, and its parts, which know their own scores once the mix was asked."""
    parts = [RecordedCritic(critic) for critic, _ in mix.parts]
    return MixCritic([(part, weight) for part, (_, weight) in zip(parts, mix.parts, strict=True)]), parts
