"""One sentence per finding, with its numbers. Report, journal and Slack print the same words."""

from engine.rollout.judge.distribution import DriftResult
from engine.rollout.judge.paired import PairedResult
from engine.rollout.plan import Condition
from engine.rollout.verdict import Verdict


def data_quality(coverage_pct: float, required_pct: float, shape: tuple[int, ...], in_step: bool) -> str:
    expected = shape[1] * shape[2]
    text = f"Data quality: {coverage_pct:.1f} % of {expected} paired windows arrived with the approved fingerprints"
    if not in_step:
        return f"{text}; the arms counted different trades, so nothing may be compared"
    return f"{text} ({required_pct:g} % required), both arms on the same trades"


def paired(condition: Condition, result: PairedResult, block_s: int, min_blocks: int, symbol: str | None) -> str:
    name = f"{condition.name} on {symbol}" if symbol else condition.name
    if result.blocks < min_blocks:
        return f"{name}: {result.blocks} paired blocks, {min_blocks} required"
    if result.identical:
        return f"{name}: canary and baseline are identical over {result.blocks} paired blocks"
    text = (
        f"{name}: canary {result.canary:.4g} against baseline {result.baseline:.4g} over {result.blocks} paired blocks"
    )
    if result.percent_is_defined:
        text += f" ({100 * result.difference / abs(result.baseline):+.1f} %)"
    text += f"; difference {result.difference:+.4g} [{result.low:+.4g}, {result.high:+.4g}]"
    return f"{text}; {_paired_conclusion(condition, result, block_s)}"


def _paired_conclusion(condition: Condition, result: PairedResult, block_s: int) -> str:
    loss = f"a loss of {condition.tolerance_pct:g} %"
    match result.verdict:
        case Verdict.PASS:
            return f"{loss} is excluded at the {100 * result.level:g} % level"
        case Verdict.FAIL:
            return f"it is worse by more than the tolerated {condition.tolerance_pct:g} %"
    if condition.role == "guard":
        return f"{loss} is not proven (guard: it can roll back, it does not block)"
    more = (
        f", about {duration(result.more_blocks * block_s)} more would decide"
        if result.more_blocks
        else ", and more time of this kind would not decide it"
    )
    return f"{loss} is neither proven nor excluded{more}"


def distribution(condition: Condition, result: DriftResult, min_blocks: int) -> str:
    if result.blocks < min_blocks:
        return f"{condition.name}: {result.blocks} paired blocks, {min_blocks} required"
    if result.identical:
        return f"{condition.name}: identical over {result.blocks} paired blocks"
    tolerance = f"{condition.tolerance_pct:g} %"
    conclusion = {
        Verdict.PASS: f"a drift of {tolerance} is excluded",
        Verdict.FAIL: f"a drift beyond the tolerated {tolerance} is proven",
        Verdict.INCONCLUSIVE: f"a drift of {tolerance} is neither proven nor excluded",
    }[result.verdict]
    if result.verdict is Verdict.INCONCLUSIVE and condition.role == "guard":
        conclusion = f"a drift of {tolerance} is not proven (guard: it can roll back, it does not block)"
    return (
        f"{condition.name}: Wasserstein distance {100 * result.distance:.1f} % of a standard deviation "
        f"[{100 * result.low:.1f} %, {100 * result.high:.1f} %] over {result.blocks} paired blocks; {conclusion}"
    )


def switches(condition: Condition, count: int, days: float, upper: float) -> str:
    rate = count / days
    text = f"{condition.name}: {count} in {days:.1f} symbol-days, {rate:.1f} per day"
    text += f" (at most {upper:.1f} at the advance level; alarm > {condition.alarm:g})"
    if condition.normal is not None and rate > condition.normal:
        text += f"; above the expected {condition.normal:g}"
    return text


def duration(seconds: float) -> str:
    """A length of market time in the largest unit that gives at least 1.

    >>> duration(90), duration(7200), duration(259200)
    ('90 s', '2.0 h', '3.0 days')
    """
    if seconds < 600:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
