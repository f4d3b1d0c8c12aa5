"""Outcomes of judging: per condition, and for a stage."""

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """Ordered from best to worst, so that `max` of many verdicts is the overall one."""

    PASS = 0
    INCONCLUSIVE = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition's verdict with the sentence that carries its numbers.

    `value`, `low` and `high` are the estimate and its interval in the condition's unit; None when
    there is none. `symbol` names the symbol a finding singles out. A guard that did not FAIL does
    not stand in the way: see `blocks_advance`.
    """

    condition: str
    metric: str
    role: str
    verdict: Verdict
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    unit: str = ""
    symbol: str | None = None

    @property
    def blocks_advance(self) -> bool:
        """Whether the stage may not advance because of this."""
        return self.verdict is Verdict.FAIL or (self.role == "gate" and self.verdict is not Verdict.PASS)


def overall(findings: list[Finding]) -> Verdict:
    """Worst verdict of what may block; nothing measured is INCONCLUSIVE, never a pass."""
    if not findings:
        return Verdict.INCONCLUSIVE
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        return Verdict.FAIL
    gates = [finding for finding in findings if finding.role == "gate"]
    if not gates or any(finding.verdict is not Verdict.PASS for finding in gates):
        return Verdict.INCONCLUSIVE
    return Verdict.PASS
