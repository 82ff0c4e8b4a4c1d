"""The rule by which a claim stands or falls; docs/claims.md gives its reasons."""

import math
from dataclasses import dataclass
from enum import StrEnum

from robustloss.claims import statements
from robustloss.claims.differences import Difference

LEVEL = 0.95
SIGNS = {"lower": -1, "not higher": -1}


class Finding(StrEnum):
    """What an interval says of a direction."""

    HOLDS = "holds"
    FAILS = "the opposite holds"
    UNDECIDED = "cannot be told apart"


class Word(StrEnum):
    """A verdict."""

    REPRODUCED = "reproduced"
    DIRECTION = "direction only"
    NOT_REPRODUCED = "not reproduced"
    COLLAPSES = "collapses"
    NOT_ATTEMPTED = "not attempted at this scale"


@dataclass(frozen=True)
class Comparison:
    """Two rows compared: `ours` under the published attack, `honest` under the honest one; None where not run.

    `lost` is by how much less the honest difference is. Shares are in [0, 1], ratios natural logarithms. `missing` says
    what was not run. `trainings` is the smaller number of the two rows, `data` the set that they were measured on;
    `stand_ins` says what takes the place of the paper's own data, networks and epochs.
    """

    settings: dict
    published: float | None
    trainings: int = 0
    images: int = 0
    honest_images: int = 0
    data: str = ""
    stand_ins: tuple[str, ...] = ()
    missing: str = ""
    ours: Difference | None = None
    honest: Difference | None = None
    lost: Difference | None = None

    @property
    def bounded(self) -> bool:
        """Whether the claim is that rows do not differ by more than the tolerance."""
        return self.settings["direction"] in statements.BOUNDED

    @property
    def tolerance(self) -> float:
        """In the unit of the difference: points as shares, parts of a ratio as its logarithm."""
        value = self.settings.get("tolerance", 0)
        if self.settings["measure"] in statements.RATIOS:
            return math.log1p(value)
        return value / 100 if self.settings["measure"] in statements.SHARES else value

    def room(self, low: float, high: float) -> tuple[float, float]:
        """How far inside the claimed range the worse and the better end of an interval are; negative is outside."""
        if self.settings["direction"] == "near":
            nearest = max(low, -high, 0)
            return self.tolerance - max(abs(low), abs(high)), self.tolerance - nearest
        ends = self._forward(low), self._forward(high)
        margin = self.tolerance if self.bounded else 0
        return min(ends) + margin, max(ends) + margin

    def finding(self, found: Difference, level: float = LEVEL) -> Finding:
        """Whether the interval is inside the claimed range, outside, or across its border."""
        worse, better = self.room(*found.interval(level))
        if worse > 0:
            return Finding.HOLDS
        return Finding.FAILS if better < 0 else Finding.UNDECIDED

    @property
    def same_size(self) -> bool:
        """Whether the size is the published one within the tolerance; true where none is printed.

        Of what differs, half the published size is tolerated at most: more would call no difference the same size.
        """
        if self.published is None:
            return True
        excess = self._forward(self.ours.mean - self.published)
        room = self.tolerance if self.bounded else min(self.tolerance, abs(self.published) / 2)
        return excess >= -room and (self.settings["direction"] == "at least" or excess <= room)

    @property
    def another_size(self) -> bool:
        """Whether the claim is of a size, and the paper's own experiment has come out at another one."""
        return self.settings.get("sized", False) and not self.stand_ins and not self.same_size

    @property
    def printed(self) -> bool:
        """Whether the published numbers, if there are any, say what the paper says of them."""
        return self.published is None or self.room(self.published, self.published)[0] > 0

    def gone(self, level: float) -> bool:
        """Whether the honest evaluation does not show the claim, and shows less of it than the published attack."""
        if self.finding(self.honest) == Finding.HOLDS:
            return False
        if self.finding(self.honest, level) == Finding.FAILS:
            return True
        return not self.bounded and min(map(self._forward, self.lost.interval(level))) > 0

    def _forward(self, difference: float) -> float:
        """Positive in the claim's direction."""
        return SIGNS.get(self.settings["direction"], 1) * difference


@dataclass(frozen=True)
class Verdict:
    """A claim of a paper, what was compared, and the word for what came of it."""

    paper: str
    scale: str
    name: str
    claim: str
    source: str
    comparisons: tuple[Comparison, ...]

    @property
    def run(self) -> list[Comparison]:
        """The comparisons that this scale makes."""
        return [found for found in self.comparisons if found.ours]

    @property
    def judged(self) -> list[Comparison]:
        """Those that were made under honest attacks, too."""
        return [found for found in self.run if found.honest]

    @property
    def gone(self) -> list[Comparison]:
        """Those that the honest attacks take back; a surer interval each, as one of several is enough."""
        level = 1 - (1 - LEVEL) / max(len(self.judged), 1)
        return [found for found in self.judged if found.gone(level)]

    @property
    def failing(self) -> list[Comparison]:
        """Those that do not show what is claimed."""
        return [found for found in self.run if found.finding(found.ours) != Finding.HOLDS or found.another_size]

    @property
    def stand_ins(self) -> list[str]:
        """What takes the place of the paper's own in the comparisons that were made, each once."""
        return list(dict.fromkeys(words for found in self.run for words in found.stand_ins))

    @property
    def word(self) -> Word:
        if not self.run:
            return Word.NOT_ATTEMPTED
        if self.failing:
            return Word.NOT_REPRODUCED
        if self.gone:
            return Word.COLLAPSES
        return Word.DIRECTION if self.reservations else Word.REPRODUCED

    @property
    def reservations(self) -> list[str]:
        """Why a claim whose direction holds is not reproduced."""
        reasons = {
            f"{len(self.run)} of {len(self.comparisons)} comparisons made": len(self.run) < len(self.comparisons),
            f"{', '.join(self.stand_ins)}, so sizes do not compare": self.stand_ins,
            "one training of a row": any(found.trainings < 2 for found in self.run),
            "the size is another": not self.stand_ins and not all(found.same_size for found in self.run),
            "the honest attacks leave it open": any(
                found.finding(found.honest) != Finding.HOLDS for found in self.judged
            ),
        }
        return [reason for reason, given in reasons.items() if given]

    @property
    def decisive(self) -> Comparison:
        """The comparison that the word hangs on: the weakest."""
        if self.word == Word.NOT_ATTEMPTED:
            return self.comparisons[0]
        if self.word == Word.COLLAPSES:
            return min(self.gone, key=lambda found: found.room(*found.honest.interval()))
        # An interval on the wrong side says more than a wide one that reaches further there.
        among = [found for found in self.run if found.finding(found.ours) == Finding.FAILS] or self.failing or self.run
        return min(among, key=lambda found: found.room(*found.ours.interval()))
