"""The only reader of time. Everything else takes a clock as an argument."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Wall time for labels, monotonic time for durations."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch (UTC): a label, never a duration."""

    def mono_ns(self) -> int:
        """Time since boot in nanoseconds, suspend included: for durations."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def boot_id(self) -> str:
        """Name of this boot: monotonic times of different boots do not compare."""


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def mono_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def boot_id(self) -> str:
        return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else f"pid-{os.getppid()}"


@dataclass
class FakeClock:
    """A clock that only moves when told to: a two-week stage takes no time in tests.

    `ahead_ns` is how far the wall clock is ahead of the time since boot, `earlier_ns` what had passed before this boot.
    """

    at_ns: int = 1_735_689_600 * NS_PER_S
    ahead_ns: int = 0
    earlier_ns: int = 0
    boots: int = 0

    def now_ns(self) -> int:
        return self.at_ns

    def mono_ns(self) -> int:
        return self.at_ns - self.ahead_ns

    def sleep(self, seconds: float) -> None:
        self.pass_ns(round(seconds * NS_PER_S))

    def boot_id(self) -> str:
        return f"fake-boot-{self.boots}" if self.boots else "fake-boot"

    @property
    def elapsed_ns(self) -> int:
        """Time that has truly passed, through every boot."""
        return self.earlier_ns + self.mono_ns()

    def pass_ns(self, duration_ns: int) -> None:
        """Let time pass."""
        self.at_ns += duration_ns

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forwards or back; no time passes."""
        self.at_ns += round(seconds * NS_PER_S)
        self.ahead_ns += round(seconds * NS_PER_S)

    def suspend(self, seconds: float) -> None:
        """Let time pass in which nothing runs: the time since boot counts it."""
        self.pass_ns(round(seconds * NS_PER_S))

    def reboot(self, off_s: float = 0.0) -> None:
        """Start another boot after the machine was off for a while; its time begins at nought."""
        self.pass_ns(round(off_s * NS_PER_S))
        self.earlier_ns += self.mono_ns()
        self.ahead_ns = self.at_ns
        self.boots += 1
