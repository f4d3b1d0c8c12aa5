"""One arm of one symbol: parameters, mode, signals, paper account, and what they did."""

from copy import copy
from dataclasses import replace
from typing import Any

from engine.clock import NS_PER_MS, NS_PER_S
from engine.strategy.activity import ActivityWindow
from engine.strategy.mode import Activity, Mode, ModeManager, Transition
from engine.strategy.ofi import BIN_NS, FlowRing
from engine.strategy.paper import PaperAccount
from engine.strategy.params import ModeParams, StrategyParams, fingerprint
from engine.strategy.quality import SignalSums, clip
from engine.strategy.records import Counts, Measurement, WindowRecord
from engine.strategy.signal import CvdSignal, OfiSignal, direction, fuse

OFI = "ofi"
CVD = "cvd"


_TOUCHED = {
    "arm": ("params", "fingerprint", "_window_fingerprint", "last_transition", "transition_counts", "_transitions"),
    "modes": ("mode", "_params", "_schedule", "_agreeing"),
    "ofi": ("_params", "_alpha", "_next_ns", "_frozen_until_ns", "z"),
    "cvd": ("_params", "_alpha", "_window_alpha"),
    "paper": ("_paper", "_risk"),
}
"""What a change of parameters changes, by owner."""


class Arm:
    """Everything that depends on parameters. Market state is shared and lives in the pipeline."""

    def __init__(self, name: str, ring: FlowRing, measurement: Measurement, params: StrategyParams) -> None:
        self.name = name
        self.params = params
        self.fingerprint = fingerprint(params)
        self._window_fingerprint: str | None = self.fingerprint
        self._measurement = measurement
        self.modes = ModeManager(params)
        chosen = self._mode_params()
        self.ofi = OfiSignal(ring, chosen.ofi)
        self.cvd = CvdSignal(chosen.cvd)
        self.paper = PaperAccount(params.paper, chosen.risk)
        self.activity: Activity | None = None
        self.last_transition: Transition | None = None
        self.transition_counts: dict[tuple[str, str, str], int] = {}
        self.seconds_in_mode = dict.fromkeys(Mode, 0.0)
        self.strength: float | None = None
        self.exported: tuple[float | None, float | None] = (None, None)
        self._next_flush_ns = 0
        self._window = ActivityWindow()
        self._clear()

    def _clear(self) -> None:
        horizons = len(self._measurement.horizons_ms)
        self._sums = {name: SignalSums(horizons) for name in (OFI, CVD)}
        self._transitions = 0
        self._active_ticks = 0
        self._window_fingerprint = self.fingerprint

    def _mode_params(self) -> ModeParams:
        return self.params.active if self.modes.mode is Mode.ACTIVE else self.params.quiet

    def change_params(self, params: StrategyParams, params_fingerprint: str, at_ns: int) -> None:
        """Publish other parameters; they were validated before. The running window loses its fingerprint."""
        if params_fingerprint == self.fingerprint:
            return
        before = self.modes.mode
        self.params = params
        self.fingerprint = params_fingerprint
        self._note(self.modes.change_params(params, at_ns))
        self._adopt_mode(at_ns, switched=self.modes.mode is not before)
        self._window_fingerprint = None

    def snapshot(self) -> dict[str, Any]:
        """Everything that `change_params` may touch, to put back if another arm refuses."""
        owners = {"arm": self, "modes": self.modes, "ofi": self.ofi, "cvd": self.cvd, "paper": self.paper}
        return {name: {key: copy(getattr(owner, key)) for key in _TOUCHED[name]} for name, owner in owners.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Put a snapshot back by plain assignment, which cannot fail."""
        owners = {"arm": self, "modes": self.modes, "ofi": self.ofi, "cvd": self.cvd, "paper": self.paper}
        for name, values in state.items():
            for key, value in values.items():
                setattr(owners[name], key, value)

    def start_window(self) -> None:
        """Begin a record here: called when parameters change exactly on a window's edge."""
        self._window_fingerprint = self.fingerprint

    def on_trade(self, notional: float, aggressor: float) -> None:
        self._window.on_trade(notional)
        self.cvd.on_trade(notional, aggressor)

    def on_tick(self, now_ns: int, mid: float | None, spread_bps: float | None, quotes: int) -> None:
        """Close what ends at this tick, then decide on a position."""
        self._window.on_quotes(quotes)
        self._window.on_tick(now_ns, mid, spread_bps)
        self.seconds_in_mode[self.modes.mode] += BIN_NS / NS_PER_S
        self._active_ticks += self.modes.mode is Mode.ACTIVE
        window_secs = self.params.market.window_secs
        if now_ns % round(window_secs * NS_PER_S) < BIN_NS:
            self._on_market_window(now_ns, window_secs)
        self.ofi.advance(now_ns)
        self.strength = fuse(self.ofi.z, self.cvd.z, self.params.fusion)
        if now_ns >= self._next_flush_ns:
            self._flush(now_ns)
        self.paper.want(direction(self.strength, self.paper.position, self.params.fusion), now_ns)

    def _flush(self, now_ns: int) -> None:
        """Refresh the exported z-scores, as often as the mode asks for."""
        self.exported = (self.ofi.z, self.cvd.z)
        self._next_flush_ns = now_ns + self._mode_params().performance.flush_metrics_interval_ms * NS_PER_MS

    def _on_market_window(self, now_ns: int, window_secs: float) -> None:
        activity = self._window.close(now_ns, window_secs)
        if activity is None:
            return
        self.activity = activity
        transition = self.modes.on_window(now_ns, activity)
        if transition is not None:
            self._note(transition)
            self._adopt_mode(now_ns, switched=True)

    def _note(self, transition: Transition | None) -> None:
        if transition is None:
            return
        self.last_transition = transition
        self._transitions += 1
        key = (transition.before.value, transition.after.value, transition.reason.value)
        self.transition_counts[key] = self.transition_counts.get(key, 0) + 1

    def _adopt_mode(self, at_ns: int, *, switched: bool) -> None:
        chosen = self._mode_params()
        self.ofi.change_params(chosen.ofi, at_ns if switched else 0)
        self.cvd.change_params(chosen.cvd)
        self.paper.change_params(self.params.paper, chosen.risk)

    def sample(self) -> tuple[float | None, float | None]:
        """Record both z-scores at a grid point and return them."""
        values = (self.ofi.z, self.cvd.z)
        for name, z in zip((OFI, CVD), values, strict=True):
            if z is not None:
                self._sums[name].add_sample(z)
        return values

    def score(self, horizon: int, outcome: float, z_ofi: float | None, z_cvd: float | None) -> None:
        """Hold earlier z-scores against the return that followed."""
        for name, z in ((OFI, z_ofi), (CVD, z_cvd)):
            if z is not None:
                self._sums[name].ic[horizon].add(clip(z), outcome)

    def close_window(self, symbol: str, start_ns: int, end_ns: int, counts: Counts, mid: float | None) -> WindowRecord:
        """Return the record of the window that ends here, and start the next."""
        record = WindowRecord(
            symbol=symbol,
            arm=self.name,
            window_start_ns=start_ns,
            window_end_ns=end_ns,
            fingerprint=self._window_fingerprint,
            mode=self.modes.mode.value,
            transitions=self._transitions,
            active_ticks=self._active_ticks,
            counts=replace(counts),
            signals=self._sums,
            paper=self.paper.take_results(),
            mid=mid,
        )
        self._clear()
        return record
