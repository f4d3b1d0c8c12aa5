"""Order flow, volume and mids of a symbol, per bin of the venue's time; both arms read the same.

Buckets, windows and watermarks are limits on reading these bins, so a change of parameters rebuilds nothing.
"""

import math

from engine.strategy.kernels.arrays import Record
from engine.strategy.kernels.compile import inlined, kernel
from engine.strategy.layout import BIN_NS, MAX_LEVELS, RING_BINS, RING_MASK


@inlined
def bin_at(m: Record, ts_ns: int) -> int:
    """Return the bin of a time, moving the ring forward to it; -1 if it is older than the ring."""
    if 0 <= ts_ns - m.newest_bin * BIN_NS < BIN_NS:
        return m.newest_bin & RING_MASK
    return _other_bin_at(m, ts_ns // BIN_NS)


@kernel
def _other_bin_at(m: Record, index: int) -> int:
    if index > m.newest_bin:
        mid = m.mid[m.newest_bin & RING_MASK]
        for new in range(max(m.newest_bin + 1, index - RING_BINS + 1), index + 1):
            _clear_bin(m, new & RING_MASK, mid)
        m.newest_bin = index
    elif index <= m.newest_bin - RING_BINS:
        return -1
    return index & RING_MASK


@kernel
def _clear_bin(m: Record, slot: int, mid: float) -> None:
    m.flow[slot] = 0.0
    m.delta[slot] = 0
    m.mid[slot] = mid
    m.quotes_in_bin[slot] = 0
    if m.has_depth:
        m.depth_updates[slot] = 0
        for level in range(MAX_LEVELS):
            m.level_flow[slot, level] = 0.0
            m.level_depth[slot, level] = 0.0


@kernel
def first_bin(m: Record, from_ns: int) -> int:
    """Index of the oldest bin from a time on that the ring still has."""
    return max(from_ns // BIN_NS, m.newest_bin - RING_BINS + 1)


@kernel
def flow_between(m: Record, from_ns: int, to_ns: int) -> float:
    """Order flow at the best quotes over from_ns <= t < to_ns, base units; both on bin edges."""
    total = 0.0
    for index in range(first_bin(m, from_ns), min(to_ns // BIN_NS, m.newest_bin + 1)):
        total += m.flow[index & RING_MASK]
    return total


@kernel
def level_flow_between(m: Record, level: int, from_ns: int, to_ns: int) -> float:
    """Order flow at one rank of the book over from_ns <= t < to_ns, base units."""
    total = 0.0
    for index in range(first_bin(m, from_ns), min(to_ns // BIN_NS, m.newest_bin + 1)):
        total += m.level_flow[index & RING_MASK, level]
    return total


@kernel
def mean_depth(m: Record, levels: int, from_ns: int, to_ns: int) -> float:
    """Average quantity at one side of one of the first `levels` ranks, base units; NaN without updates.

    Cont, Cucuringu and Zhang, Quantitative Finance 23(10), 2023: the Q that normalises multi-level flow.
    """
    total, count = 0.0, 0
    for index in range(first_bin(m, from_ns), min(to_ns // BIN_NS, m.newest_bin + 1)):
        count += m.depth_updates[index & RING_MASK]
        for level in range(levels):
            total += m.level_depth[index & RING_MASK, level]
    return total / (2.0 * levels * count) if count else math.nan


@kernel
def mid_at(m: Record, end_ns: int) -> float:
    """Mid price as of the last quote before a bin edge; NaN where the ring does not reach."""
    index = end_ns // BIN_NS - 1
    if index <= m.newest_bin - RING_BINS:
        return math.nan
    mid = m.mid[min(index, m.newest_bin) & RING_MASK]
    return mid if mid > 0.0 else math.nan


@kernel
def lots_at(m: Record, end_ns: int) -> int:
    """Cumulative volume delta of all trades before a bin edge, in lots."""
    later = 0
    for index in range(first_bin(m, end_ns), m.newest_bin + 1):
        later += m.delta[index & RING_MASK]
    return m.lots - later
