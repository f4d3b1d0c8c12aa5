"""Seeded faults in the safety code: each must make a test fail that passes without it.

    python -m benchmarks.mutants [--count N] [--only WORD]

Every mutant is one line of the shipped code, changed as a hasty hand might; the tests that shall catch it run in a
copy of the repository. `docs/mutants.md` holds the list and the last result; `tests/test_docs.py` keeps both equal.
Prints one JSON line last.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutant:
    """`old` occurs once in `file`; `tests` are what pytest is given."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def load(path: Path = ROOT / "benchmarks" / "mutants.json") -> list[Mutant]:
    """The shipped list."""
    return [Mutant(**{**item, "tests": tuple(item["tests"])}) for item in json.loads(path.read_text())]


def copied(folder: Path) -> Path:
    """Copy what git knows or would know, compiled kernels included, into a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, target)
    kernels = Path("engine/strategy/kernels/__pycache__")
    if (ROOT / kernels).exists():
        shutil.copytree(ROOT / kernels, folder / kernels, dirs_exist_ok=True)
    return folder


def fails(folder: Path, tests: tuple[str, ...]) -> bool:
    """Whether any of these tests fails in a copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=600, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(tests)}: pytest ended with {done.returncode}:\n{done.stdout.decode()[-2000:]}")
    return done.returncode == 1


def is_caught(mutant: Mutant) -> bool:
    """Apply one mutant in a copy of its own and run its tests."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        path = copied(Path(folder)) / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise RuntimeError(
                f"{mutant.name}: {mutant.file} has {text.count(mutant.old)} times {mutant.old!r}, not once"
            )
        path.write_text(text.replace(mutant.old, mutant.new))
        return fails(Path(folder), mutant.tests)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="how many, from the top of the list")
    parser.add_argument("--only", default="", help="those whose name holds this word")
    options = parser.parse_args()
    mutants = [mutant for mutant in load() if options.only in mutant.name][: options.count]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        sound = not fails(copied(Path(folder)), tuple(sorted({test for mutant in mutants for test in mutant.tests})))
    with ThreadPoolExecutor(2) as pool:
        caught = dict(zip((mutant.name for mutant in mutants), pool.map(is_caught, mutants), strict=True))
    for name, found in caught.items():
        print(f"{'caught ' if found else 'ESCAPED'}  {name}", file=sys.stderr)
    result = {
        "mutants": len(caught), "caught": sum(caught.values()), "unmutated_passes": sound,
        "escaped": [name for name, found in caught.items() if not found],
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
