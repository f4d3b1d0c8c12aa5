"""The peers' own virtual environment, `var/bench-venv`: made when it is first needed, or when the pins changed."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "bench-venv"
PINS = ROOT / "constraints-bench.txt"
DIRECT = ("hftbacktest", "nautilus_trader")
INSTALL_S = 900


class PeersMissingError(Exception):
    """The environment cannot be made; the message says why."""


def bench_python() -> Path:
    """Return the environment's Python, making the environment where needed; progress goes to standard error.

    Raises PeersMissingError.
    """
    python, stamp = FOLDER / "bin" / "python", FOLDER / ".made-from"
    digest = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"setting up {FOLDER} from {PINS.name} (about a minute)", file=sys.stderr)
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(FOLDER)])
    quiet = ("--quiet", "--disable-pip-version-check", "--only-binary=:all:")
    _run([str(python), "-m", "pip", "install", *quiet, "-c", str(PINS), *DIRECT])
    stamp.write_text(digest)
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeersMissingError(f"the bench environment cannot be made: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"{command[1:4]} ended with {done.returncode}"]
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise PeersMissingError(f"the bench environment cannot be made: {said}")
