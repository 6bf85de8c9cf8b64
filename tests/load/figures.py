"""What a scenario measured."""

import statistics
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """Counts of one run of one scenario. Latencies are in seconds.

    `lost` counts sessions that ended though nobody may end them; `in_window` those that ended in a window that the
    design says cannot be closed from this side; `reuses` how often the API met a refresh token that was spent;
    `sent_again` how many requests met a kept-alive connection that the server was just closing.
    """

    requests: int = 0
    lost: int = 0
    in_window: int = 0
    refreshes: int = 0
    rotations: int = 0
    reuses: int = 0
    sent_again: int = 0
    latencies: list[float] = field(default_factory=list, repr=False)
    baseline: list[float] = field(default_factory=list, repr=False)
    #: What else is worth knowing, in words.
    notes: list[str] = field(default_factory=list)

    @property
    def refreshes_per_rotation(self) -> float | None:
        return self.refreshes / self.rotations if self.rotations else None

    @property
    def median_ratio(self) -> float | None:
        """The median request, in units of the median one that needed no refresh."""
        return self._ratio(50)

    @property
    def slowest_ratio(self) -> float | None:
        """The 99th percentile, in the same units."""
        return self._ratio(99)

    def _ratio(self, percentile: int) -> float | None:
        if not (len(self.latencies) > 1 and self.baseline):
            return None
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        return cuts[percentile - 1] / statistics.median(self.baseline)
