"""docs/failure-modes.md and the failure matrix name each other: no row without a test, no test without a row."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failure-modes.md").read_text(encoding="utf-8")
MATRIX = ROOT / "tests" / "integration" / "matrix"


def names_in_the_matrix() -> list[str]:
    """The names of all its tests."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(MATRIX.glob("test_*.py"))]
    return [
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def rows() -> list[list[str]]:
    """The cells of all rows in the tables of failures, without the heads."""
    lines = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [row for row in cells if row[-1] not in ("Test", "---") and len(row) == 4]


def test_every_test_of_the_matrix_stands_once_on_the_page() -> None:
    """Each by a name of its own, and the page names none that isn't there."""
    tests = names_in_the_matrix()
    assert len(tests) == len(set(tests)) > 40
    assert sorted(re.findall(r"`(test_\w+)`", PAGE)) == sorted(tests)


def test_every_row_says_what_happens_what_is_left_and_by_which_test_it_is_held() -> None:
    """No cell is empty, and the last one is a test."""
    assert len(rows()) > 40
    for row in rows():
        assert all(row), row
        assert re.fullmatch(r"`test_\w+`", row[-1]), row
