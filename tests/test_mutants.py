"""The list of seeded mutants: long enough, still fitting the code, and the one that is documented."""

from pathlib import Path

import pytest

from benchmarks.mutants import Mutant, fails, load

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = load()


def test_there_are_at_least_twenty_five() -> None:
    assert len({mutant.name for mutant in MUTANTS}) >= 25


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS])
def test_a_mutant_changes_one_place_and_names_tests_that_exist(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert all((ROOT / test).exists() for test in mutant.tests)


def test_the_document_has_the_list() -> None:
    text = (ROOT / "docs" / "mutants.md").read_text()

    assert [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| ") and " | `" in line] == [
        mutant.name for mutant in MUTANTS
    ]


def test_a_failing_test_counts_as_caught_and_a_passing_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(): assert False\n")
    (tmp_path / "test_that.py").write_text("def test_that(): pass\n")

    assert fails(tmp_path, ("test_it.py",))
    assert not fails(tmp_path, ("test_that.py",))
