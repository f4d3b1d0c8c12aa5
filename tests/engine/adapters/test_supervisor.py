"""One contract for whoever starts and stops the service: this machine's own supervisor, and systemd."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.adapters.supervisor import (
    EmbeddedSupervisor,
    SystemdSupervisor,
    guardian_is_alive,
    start_guardian,
    stop_guardian,
    supervisor_of,
)
from engine.errors import ServiceError
from engine.rollout.ports import Supervisor
from tests.making_processes import ROOT, Rehearsal, planned, wait_until

# systemctl for two units: pid file, own process group, environment from the file that the unit names.
SYSTEMCTL = """\
    #!{python}
    import os, signal, subprocess, sys, time
    folder = "{folder}"
    user, verb, *options, unit = sys.argv[1:]
    name = os.path.basename(folder) + ".service"
    commands = {{
        "graygate-service@" + name: ["engine.serve", folder + "/service/service.json"],
        "graygate-guardian@" + name: ["engine.guard", folder],
    }}
    if user != "--user" or unit not in commands:
        sys.exit(5)
    pid_file = folder + "/" + unit + ".pid"

    def pid():
        try:
            found = int(open(pid_file).read())
            alive = open(f"/proc/{{found}}/stat").read().rpartition(")")[2].split()[0] != "Z"
        except (OSError, ValueError):
            return None
        return found if alive else None

    def end(number):
        found = pid()
        if found is None:
            return
        os.killpg(found, number)
        for _ in range(100):
            if pid() is None:
                return
            time.sleep(0.02)
        os.killpg(found, signal.SIGKILL)

    def begin():
        environment = dict(os.environ)
        switches = folder + "/service/switches.env"
        if os.path.exists(switches):
            environment.update(line.split("=", 1) for line in open(switches).read().splitlines())
        command = [sys.executable, "-m", *commands[unit]]
        log = open(folder + "/service/service.log", "ab")
        started = subprocess.Popen(command, cwd="{root}", env=environment, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        open(pid_file, "w").write(str(started.pid))

    if verb == "is-active":
        sys.exit(0 if pid() else 3)
    if verb == "kill":
        end(signal.SIGKILL if "--signal=SIGKILL" in options else signal.SIGTERM)
    if verb in ("stop", "restart"):
        end(signal.SIGTERM)
    if verb in ("start", "restart"):
        begin()
"""


@dataclass
class Supervised:
    """A supervisor, and the service it looks after."""

    supervisor: Supervisor
    rehearsal: Rehearsal

    def pid(self) -> int | None:
        folder = self.rehearsal.folder
        for path in (folder / f"graygate-service@{folder.name}.service.pid", folder / "service" / "service.pid"):
            if path.exists() and (words := path.read_text().split()):
                return int(words[0])
        return None

    def environment(self) -> dict[str, str]:
        pairs = Path(f"/proc/{self.pid()}/environ").read_bytes().decode().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@pytest.fixture(params=["embedded", "systemd"])
def supervised(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    rehearsal = planned(tmp_path / "home")
    monkeypatch.setenv("GRAYGATE_SUPERVISOR", request.param)
    if request.param == "systemd":
        script = tmp_path / "bin" / "systemctl"
        script.parent.mkdir()
        text = textwrap.dedent(SYSTEMCTL).format(python=sys.executable, folder=rehearsal.folder, root=ROOT)
        script.write_text(text)
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    found = Supervised(supervisor_of(rehearsal.folder), rehearsal)
    yield found
    found.supervisor.stop()


def test_what_was_never_started_is_not_alive_and_may_be_stopped(supervised: Supervised) -> None:
    assert not supervised.supervisor.is_alive()

    supervised.supervisor.stop()

    assert not supervised.supervisor.is_alive()


def test_it_answers_once_it_was_restarted_and_is_gone_once_it_was_stopped(supervised: Supervised) -> None:
    supervised.supervisor.restart(on_baseline=False)
    assert supervised.supervisor.is_alive()
    assert supervised.rehearsal.status()["live"]
    assert "STRATEGY_MODE" not in supervised.environment()

    supervised.supervisor.stop()

    assert not supervised.supervisor.is_alive()


def test_on_baseline_it_starts_with_the_rollback_switches_and_without_them_afterwards(supervised: Supervised) -> None:
    supervised.supervisor.restart(on_baseline=True)
    first = supervised.environment()

    supervised.supervisor.restart(on_baseline=False)

    assert (first["STRATEGY_MODE"], first["DYNAMIC_MODE_ENABLED"]) == ("quiet", "false")
    assert "STRATEGY_MODE" not in supervised.environment()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_service_that_died_or_hangs_is_replaced(supervised: Supervised, number: signal.Signals) -> None:
    supervised.supervisor.restart(on_baseline=False)
    before = supervised.pid()
    assert before is not None
    os.kill(before, number)
    wait_until(lambda: supervised.supervisor.is_alive() is (number is signal.SIGSTOP))

    supervised.supervisor.restart(on_baseline=True)

    assert supervised.pid() != before
    assert supervised.rehearsal.status()["live"]


def test_a_service_that_refuses_to_start_is_an_error_with_its_words(supervised: Supervised) -> None:
    (supervised.rehearsal.folder / "service" / "service.json").write_text("{}")

    with pytest.raises(ServiceError, match="missing required field"):
        supervised.supervisor.restart(on_baseline=True)


def test_two_that_restart_at_once_start_it_once(supervised: Supervised) -> None:
    supervised.supervisor.restart(on_baseline=False)
    pids: set[int | None] = set()

    def restart() -> None:
        supervised.supervisor.restart(on_baseline=True)
        pids.add(supervised.pid())

    threads = [threading.Thread(target=restart) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(pids) == 1
    assert supervised.environment()["STRATEGY_MODE"] == "quiet"


def test_a_wish_for_the_baseline_is_not_served_by_anothers_ordinary_restart(supervised: Supervised) -> None:
    ordinary = threading.Thread(target=lambda: supervised.supervisor.restart(on_baseline=False))
    ordinary.start()
    wait_until(lambda: supervised.pid() is not None)  # it has begun and holds the lock

    supervised.supervisor.restart(on_baseline=True)

    ordinary.join()
    assert supervised.environment()["STRATEGY_MODE"] == "quiet"


def test_the_environment_says_which_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAYGATE_SUPERVISOR", raising=False)
    assert isinstance(supervisor_of(tmp_path), EmbeddedSupervisor)

    monkeypatch.setenv("GRAYGATE_SUPERVISOR", "systemd")

    assert isinstance(supervisor_of(tmp_path), SystemdSupervisor)


def test_a_guardian_is_known_by_its_lock_whoever_started_it(supervised: Supervised) -> None:
    folder = supervised.rehearsal.folder
    supervised.supervisor.restart(on_baseline=False)  # else the guardian would
    assert not guardian_is_alive(folder)

    start_guardian(folder)
    wait_until(lambda: guardian_is_alive(folder))
    stop_guardian(folder)

    assert not guardian_is_alive(folder)


@pytest.mark.parametrize("unit", ["graygate-service@", "graygate-guardian@"])
def test_systemd_understands_the_shipped_units(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    (tmp_path / "graygate").symlink_to(ROOT)
    copy = tmp_path / f"{unit}rehearsal-1.service"
    shutil.copy(ROOT / "config" / "systemd" / f"{unit}.service", copy)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}

    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(copy)], capture_output=True, text=True, check=False, env=environment
    )

    assert (done.returncode, done.stderr) == (0, "")
