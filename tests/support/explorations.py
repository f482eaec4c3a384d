"""A judge that explores a store, as often as one likes, and one that obeys its rules whether they are good or bad."""

import json
from pathlib import Path

from hmralign.critics.vlm.memory.store import Memory
from hmralign.systems.group_preference.explore import ExploreReport, explore_groups
from hmralign.vlm.chat import TextPart
from hmralign.vlm.journal import Journal
from support.judged_stores import BODY, EXPLORE, RULES, TruthJudge, asker

HARMFUL = RULES[0]


class Killed(BaseException):
    """A process that ends here."""


class ObedientJudge(TruthJudge):
    """Knows the truth, and says the opposite of it wherever it is shown the rule `HARMFUL`."""

    def answer(self, request) -> str:
        said = json.loads(super().answer(request))
        if "new_rules" not in said and HARMFUL in words_of(request):
            said = {label: {**entry, "score": 100 - entry["score"]} for label, entry in said.items()}
        return json.dumps(said)


class Run:
    """One memory and one journal in a folder; explores in rounds of two."""

    def __init__(self, place: Path, folder: Path, judge: type[TruthJudge] = TruthJudge, **wrong):
        self.place, self.folder = place, folder
        self.judge, self.report = judge(folder, **wrong), ExploreReport()

    def explore(self, config=EXPLORE, **limits):
        with Journal.open(self.place / "journal.sqlite") as journal, self.memory() as memory:
            chosen = asker(self.judge.backend, journal, **limits)
            return explore_groups(self.folder, chosen, BODY, memory, config, clock=lambda: "now")

    def memory(self):
        return Memory.open(self.place / "memory.sqlite")

    def content(self):
        with self.memory() as memory:
            return memory.content_hash()

    @property
    def asked(self):
        return len(self.judge.backend.requests)

    @property
    def judgements(self):
        """Requests that are no reviews, in the order sent."""
        return [r for r in self.judge.backend.requests if "new_rules" not in r.schema["properties"]]


def words_of(request) -> str:
    return "\n".join(part.text for part in request.parts if isinstance(part, TextPart))
