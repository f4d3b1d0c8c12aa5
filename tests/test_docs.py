"""The documents against the code: nothing named that is not there, nothing there that is not named."""

import ast
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

import graygate
from engine import metrics
from engine.rollout.journal import RecordType
from engine.strategy.layout import COUNTS, FIT, WINDOW
from engine.strategy.records import SIGNALS, Measurement, WindowRecord
from tasks.signals import SCHEMA

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for page in (ROOT / "docs").rglob("*.md") if not page.name.startswith("GRAY_RELEASE_REPORT_")),
    ]
)
MADE_LATER = {ROOT / "docs" / "img" / "report.png"}

COMMAND = re.compile(r"(?:^|`)graygate ([a-z]+)(?: ([a-z]+))?", re.MULTILINE)
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
BENCHMARK = re.compile(r"python -m benchmarks\.(\w+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")

REGISTRY_HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "proxy.golang" + ".org")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _commands() -> set[str]:
    top = typer.main.get_command(graygate.app)
    names = set()
    for name, command in top.commands.items():
        names.add(name)
        names |= {f"{name} {inner}" for inner in getattr(command, "commands", {})}
    return names


def _groups(commands: set[str]) -> set[str]:
    return {name.split()[0] for name in commands if " " in name}


def _public_classes() -> set[str]:
    return {
        node.name
        for path in (ROOT / "engine").rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }


def _in_backticks(text: str) -> set[str]:
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}


def _window_columns() -> set[str]:
    """Columns of the windows table, with horizon, signal and sum written as the document writes them."""
    nothing = (np.zeros(1, WINDOW)[0], np.zeros(1, COUNTS)[0])
    record = WindowRecord("ETHUSDT.simulated", "baseline", 0, 1, None, "quiet", *nothing, None, None)
    row = record.to_row(Measurement(1, 50, (250,)))
    signal, sums = "|".join(SIGNALS), "|".join(FIT.names or ())
    columns = set()
    for name in row:
        general = re.sub(rf"_(ic_250ms|fit)_({sums})$", r"_\1_{sum}", name).replace("250ms", "{h}ms")
        columns.add(re.sub(rf"^(z_)?({signal})_(?!fit)", r"\1{sig}_", general))
    return columns


def _committed_texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git repository")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_named_exists(page: Path) -> None:
    commands = _commands()
    groups = _groups(commands)

    named = {
        f"{first} {second}" if first in groups and second else first
        for first, second in COMMAND.findall(page.read_text(encoding="utf-8"))
    }

    assert named <= commands


def test_the_readme_names_the_commands_a_newcomer_needs() -> None:
    named = {first for first, _ in COMMAND.findall((ROOT / "README.md").read_text(encoding="utf-8"))}

    assert named >= {name.split()[0] for name in _commands()}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_make_target_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))

    named = set(TARGET.findall(page.read_text(encoding="utf-8")))

    assert named <= targets


def test_every_public_class_is_in_the_glossary() -> None:
    glossary = _in_backticks((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))

    assert _public_classes() - glossary == set()


def test_the_glossary_names_no_class_that_is_gone() -> None:
    glossary = _in_backticks((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))

    assert {word for word in glossary if re.match(r"[A-Z][a-z]", word)} - _public_classes() == set()


def test_every_journal_record_type_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

    assert [type_.value for type_ in RecordType if f"| `{type_.value}` |" not in text] == []


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = [
        value for key, value in vars(metrics).items() if key.isupper() and isinstance(value, str) and key != "TRIGGER"
    ]

    assert [name for name in names if f"| `{name}` |" not in text] == []
    assert f"`{metrics.TRIGGER}`" in text


def test_every_column_of_a_window_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = text.partition("## Windows table")[2].partition("\n`{sig}`")[0]

    rows = [line for line in table.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}

    assert named == _window_columns()


def test_every_column_of_the_signals_file_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").partition("## Signals file")[2]

    assert [name for name in SCHEMA.names if f"`{name}`" not in text] == []


def test_every_condition_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    plan = yaml.safe_load((ROOT / "config" / "rollout.yaml").read_text(encoding="utf-8"))

    assert [metric for metric in plan["conditions"] if f"| `{metric}` |" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_benchmark_named_exists(page: Path) -> None:
    named = set(BENCHMARK.findall(page.read_text(encoding="utf-8")))

    assert [name for name in sorted(named) if not (ROOT / "benchmarks" / f"{name}.py").exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_relative_links_point_to_files(page: Path) -> None:
    targets = [link.split("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    relative = [target for target in targets if target and "://" not in target and not target.startswith("mailto:")]

    missing = [
        target
        for target in relative
        if not (page.parent / target).exists() and (page.parent / target).resolve() not in MADE_LATER
    ]

    assert missing == []


def test_no_committed_text_names_a_registry_or_a_path_of_this_machine() -> None:
    found = []
    for path in _committed_texts():
        text = path.read_text(encoding="utf-8", errors="replace")
        if any(host in text for host in REGISTRY_HOSTS) or MACHINE_PATH.search(text) or str(ROOT) in text:
            found.append(_name(path))

    assert found == []
