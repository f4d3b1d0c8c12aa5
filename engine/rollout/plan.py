"""What a rollout is: stages in order, the conditions they are held to, and how they are measured.

Durations are market time. A rehearsal is the same plan with short durations.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

_STRICT: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False, "strict": True}

ANY_SYMBOL = "*"

Role = Literal["gate", "guard"]
Test = Literal["paired", "distribution", "switches", "limit"]


@dataclass(frozen=True, slots=True)
class Condition:
    """How far one metric may move.

    `test` says how it is decided:

    - paired: canary against baseline on the same windows; worse by more than `tolerance_pct` fails.
    - distribution: 1-Wasserstein distance of the z-scores, in baseline standard deviations,
      more than `tolerance_pct` / 100 fails.
    - switches: mode changes per symbol and day, more than `alarm` fails; `normal` is the upper
      end of what is expected and only remarked on.
    - limit: an operational figure; beyond `alarm` fails, within `normal` passes, between holds.

    A gate must PASS before a stage may advance and rolls back when it FAILs.
    A guard only rolls back: it is for metrics that the stage is too short to prove.
    `direction` says which way is good.
    """

    name: str
    metric: str
    test: Test
    role: Role
    direction: Literal["higher", "lower"]
    tolerance_pct: float | None = None
    normal: float | None = None
    alarm: float | None = None
    unit: str = ""
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        needs_tolerance = self.test in ("paired", "distribution")
        if needs_tolerance and (self.tolerance_pct is None or not 0 < self.tolerance_pct < 100):
            raise ValueError(f"{self.name}: tolerance_pct must be between 0 and 100, was {self.tolerance_pct}")
        if not needs_tolerance and (self.normal is None or self.alarm is None):
            raise ValueError(f"{self.name}: a {self.test} condition needs normal and alarm")


@dataclass(frozen=True, slots=True)
class Judging:
    """How evidence is weighed. `block_s` is the length over which windows are averaged before
    any statistic is taken; `day_s` is the length of a day (a rehearsal's is shorter).

    `symbols` says whose paired windows count: the stage's own, or all, since both arms of
    every symbol are measured at every stage.
    """

    block_s: int
    min_blocks: int
    alpha_rollback: float
    alpha_advance: float
    min_coverage_pct: float
    day_s: float
    quality_horizon_ms: int
    symbols: Literal["stage", "all"]
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        if self.min_blocks < 8:
            raise ValueError(f"judging.min_blocks must be >= 8, was {self.min_blocks}")
        for name in ("alpha_rollback", "alpha_advance"):
            if not 0 < getattr(self, name) <= 0.1:
                raise ValueError(f"judging.{name} must be in (0, 0.1], was {getattr(self, name)}")
        if not 0 < self.min_coverage_pct <= 100:
            raise ValueError(f"judging.min_coverage_pct must be in (0, 100], was {self.min_coverage_pct}")


@dataclass(frozen=True, slots=True)
class Stage:
    """One weight held for one observation. The unit of weight is the symbol.

    `symbols` is a whitelist in order of preference: a ticker matches it on every venue,
    `*` matches whatever is left. `observe_s` is cut into slots of `cadence_s`.
    """

    name: str
    weight_pct: int
    candidate: str
    symbols: tuple[str, ...]
    min_symbols: int
    max_symbols: int | None
    observe_s: int
    cadence_s: int
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        if not 0 < self.cadence_s <= self.observe_s or self.observe_s % self.cadence_s:
            raise ValueError(
                f"stage {self.name}: observe_s must be a whole number of cadence_s, "
                f"were {self.observe_s} and {self.cadence_s}"
            )

    @property
    def slot_count(self) -> int:
        """How many times the stage is looked at; the last slot is the end of the stage."""
        return self.observe_s // self.cadence_s


@dataclass(frozen=True, slots=True)
class Plan:
    """One attempt to replace stable by candidate."""

    name: str
    kind: Literal["production", "rehearsal"]
    warmup_s: int
    measurement_window_s: int
    grid_ms: int
    horizons_ms: tuple[int, ...]
    judging: Judging
    stages: tuple[Stage, ...]
    conditions: tuple[Condition, ...]
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        weights = [stage.weight_pct for stage in self.stages]
        if not weights or weights != sorted(set(weights)) or weights[-1] != 100:
            raise ValueError(f"stage weights must rise strictly to 100, were {weights}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stage names must differ, were {names}")
        window_s = self.measurement_window_s
        if self.judging.block_s % window_s:
            raise ValueError(f"judging.block_s must be a whole number of windows of {window_s} s")
        if self.judging.quality_horizon_ms not in self.horizons_ms:
            raise ValueError(f"judging.quality_horizon_ms must be one of horizons_ms {list(self.horizons_ms)}")
        for stage in self.stages:
            if stage.cadence_s % self.judging.block_s:
                raise ValueError(f"stage {stage.name}: cadence_s must be a whole number of blocks")

    def stage(self, name: str) -> Stage:
        """The stage of that name. Raises KeyError if there is none."""
        return next(stage for stage in self.stages if stage.name == name)
