"""Allowance: how long a fit may take, in steps and seconds, and how much of that is over."""

from __future__ import annotations

import dataclasses

ENDING = 6.0  # steps: about as long the colours' solution takes, with which a fit ends


@dataclasses.dataclass(frozen=True)
class Allowance:
    """How long a fit may take.

    Attributes:
      steps: at most.
      seconds: at most, without compilation; infinite if that does not matter.
      begin: seconds that were over before the first step.
    """

    steps: int
    seconds: float
    begin: float = 0.0

    def share(self, step: int, seconds: float) -> float:
        """How much of a fit is over after so many steps and seconds, from 0 to 1.

        That of its steps or of its seconds, whichever is more; time for the fit's end is left.
        """
        spent = seconds - self.begin
        ending = ENDING * spent / step if step else 0.0
        room = self.seconds - self.begin - ending
        return min(max(step / self.steps, spent / room), 1.0) if room > 0 else 1.0

    def expected_steps(self, step: int, seconds: float) -> int:
        """Steps in all, if it goes on at the pace so far."""
        share = self.share(step, seconds)
        return max(step, min(round(step / share), self.steps)) if share else self.steps
