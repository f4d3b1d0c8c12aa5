"""All symbols of the service: which arm is live where, and parameters changed on all or on none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.errors import RefusedError
from engine.strategy.events import Instrument, Slice
from engine.strategy.params import StrategyParams, fingerprint, parse_params
from engine.strategy.pipeline import BASELINE, CANARY, SymbolPipeline
from engine.strategy.records import Measurement, WindowRecord


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the rollout wants: candidate parameters, live on these symbols. `epoch` fences old writers."""

    rollout_id: str
    stage: str
    epoch: int
    fingerprint: str
    params: str
    live: tuple[str, ...]


class Host:
    """The strategy side of the service: a fold over slices, and the two-phase update."""

    def __init__(self, instruments: Sequence[Instrument], measurement: Measurement, stable: StrategyParams) -> None:
        self.measurement = measurement
        self.stable = stable
        self.stable_fingerprint = fingerprint(stable)
        self.pipelines = {item.symbol: SymbolPipeline(item, measurement, stable) for item in instruments}
        self.rollout_id: str | None = None
        self.stage: str | None = None
        self.epoch = 0
        self.clock_ns = 0
        self._live: dict[str, str] = dict.fromkeys(self.pipelines, BASELINE)
        self._mark_edge()

    def consume(self, piece: Slice) -> list[WindowRecord]:
        """Fold one slice through every symbol; return the windows it closed, stamped."""
        closed: list[WindowRecord] = []
        for symbol, pipeline in self.pipelines.items():
            for record in pipeline.consume(piece.clock_ns, piece.batches.get(symbol)):
                live = self._edge_live[symbol] == record.arm
                closed.append(replace(record, rollout_id=self._edge_rollout_id, stage=self._edge_stage, live=live))
        self.clock_ns = piece.clock_ns
        if closed:
            self._mark_edge()
        return closed

    def _mark_edge(self) -> None:
        """A window starts here: it is stamped with what is in force now."""
        self._edge_live = dict(self._live)
        self._edge_rollout_id, self._edge_stage = self.rollout_id, self.stage

    def live_fingerprints(self) -> dict[str, str]:
        """Fingerprint of the parameters that produce each symbol's live signal, read from the arm itself."""
        return {symbol: pipeline.arms[self._live[symbol]].fingerprint for symbol, pipeline in self.pipelines.items()}

    def live_arms(self) -> dict[str, str]:
        """Name of the live arm per symbol."""
        return dict(self._live)

    def apply(self, wanted: Deployment) -> None:
        """Put candidate parameters into every canary arm, and make it live on the wanted symbols.

        Two phases: everything is read, checked and built first; then references change, on all
        symbols or, if one refuses, on none. Raises ConfigError or RefusedError with nothing changed.
        """
        self._check_epoch(wanted.epoch)
        self._check_symbols(wanted.live)
        params = parse_params(wanted.params, wanted.fingerprint)
        self._publish(params, wanted.fingerprint)
        self._live = {symbol: CANARY if symbol in wanted.live else BASELINE for symbol in self.pipelines}
        self.rollout_id, self.stage, self.epoch = wanted.rollout_id, wanted.stage, wanted.epoch
        self._settle_on_edge()

    def roll_back(self, symbols: Sequence[str] | None, epoch: int) -> None:
        """Make the baseline live again on these symbols, on all if None. The canary goes on in shadow."""
        self._check_epoch(epoch)
        self._check_symbols(symbols or ())
        self._live |= dict.fromkeys(self.pipelines if symbols is None else symbols, BASELINE)
        self.epoch = max(self.epoch, epoch)
        self._settle_on_edge()

    def _check_symbols(self, symbols: Sequence[str]) -> None:
        unknown = sorted(set(symbols) - set(self.pipelines))
        if unknown:
            raise RefusedError(f"symbol {unknown[0]} is not served here; symbols are {', '.join(self.pipelines)}")

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self.epoch:
            raise RefusedError(f"epoch {epoch} is older than {self.epoch}: another rollout process took over")

    def _publish(self, params: StrategyParams, params_fingerprint: str) -> None:
        """Second phase. The schedule, which alone can fail, was built in the first; should an arm raise
        all the same, every arm gets its state back, whether it had changed or not."""
        arms = [pipeline.arms[CANARY] for pipeline in self.pipelines.values()]
        before = [arm.snapshot() for arm in arms]
        try:
            for arm in arms:
                arm.change_params(params, params_fingerprint, self.clock_ns)
        except Exception:
            for arm, state in zip(arms, before, strict=True):
                arm.restore(state)
            raise

    def _settle_on_edge(self) -> None:
        """Exactly between two windows nothing is mixed: the next window starts with what is in force now."""
        if self.clock_ns % self.measurement.window_ns() == 0:
            self._mark_edge()
            for pipeline in self.pipelines.values():
                pipeline.arms[CANARY].start_window()
