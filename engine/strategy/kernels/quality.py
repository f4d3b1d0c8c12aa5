"""How good a signal was, as sums that add over windows.

A signal is sampled on a grid that both arms share, and compared with the mid return that follows.
The contribution of one sample is clip(z, 3) * clip(r / scale, 3); its mean is an information
coefficient that heavy tails cannot dominate. `scale` is an average absolute return that does not
depend on the arm. A pair belongs to the window in which its return is known.
"""

import math

from engine.strategy.kernels.arrays import Floats, Ints, Record
from engine.strategy.kernels.compile import kernel
from engine.strategy.kernels.numerics import add_pair, clip, hist_bin, joint_bin, update_moments
from engine.strategy.layout import CVD_SIGNAL, OFI_SIGNAL

MIN_SCALE_STEPS = 20
RETURN_SCALE_ALPHA = 1.0 / 300

SAMPLE_STEP, SAMPLE_MID, SAMPLE_Z = 0, 1, 2
SAMPLE_COLUMNS = 6
"""One remembered grid point: its number, the mid, then z of OFI and CVD of each arm."""


@kernel
def sample(m: Record, samples: Floats, horizon_steps: Ints, step: int, mid: float) -> None:
    """Score the samples whose horizon ends at grid point `step`, then remember this one."""
    for index in range(len(horizon_steps)):
        then = step - horizon_steps[index]
        row = samples[then % len(samples)]
        if row[SAMPLE_STEP] == then and then > 0:
            _score(m, index, mid / row[SAMPLE_MID] - 1.0, row)
    row = samples[step % len(samples)]
    row[SAMPLE_STEP] = step
    row[SAMPLE_MID] = mid
    for j in range(2):
        arm = m.arms[j]
        row[SAMPLE_Z + 2 * j] = arm.ofi_z
        row[SAMPLE_Z + 2 * j + 1] = arm.cvd_z
        _add_sample(arm.window.signals[OFI_SIGNAL], arm.ofi_z)
        _add_sample(arm.window.signals[CVD_SIGNAL], arm.cvd_z)


@kernel
def _add_sample(sums: Record, z: float) -> None:
    if math.isnan(z):
        return
    sums.n += 1
    sums.total += z
    sums.squares += z * z
    sums.hist[hist_bin(z)] += 1


@kernel
def _score(m: Record, index: int, change: float, row: Floats) -> None:
    scale = m.scales[index]
    if scale.count >= MIN_SCALE_STEPS and scale.mean > 0.0:
        for j in range(2):
            for signal in range(2):
                z = row[SAMPLE_Z + 2 * j + signal]
                if not math.isnan(z):
                    _add_outcome(m.arms[j].window.signals[signal].ic[index], z, change / scale.mean)
    update_moments(scale, abs(change), RETURN_SCALE_ALPHA)


@kernel
def _add_outcome(ic: Record, z: float, outcome: float) -> None:
    x, y = clip(z), clip(outcome)
    add_pair(ic.pairs, x, y)
    ic.hits += x * y > 0.0
    if x * y != 0.0:  # a mid that has not moved says nothing about a sign, and would fall into the first rising bin
        ic.joint[joint_bin(x), joint_bin(y)] += 1
