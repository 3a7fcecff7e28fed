"""Where paper, code and library differ: every option that the table names exists."""

from __future__ import annotations

import ast
import csv
import importlib
import inspect
import re
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from tada.cli import app
from tada.concepts.steered import Wording
from tada.experiments.table_1 import SCALES
from tada.metrics import curve, lpaps
from tada.models.ace_step.adapter import AceStep

TABLE = Path(__file__).parents[1] / "book" / "divergences.csv"
ROWS = list(csv.DictReader(TABLE.open(encoding="utf-8")))
LEFT_OUT = {
    "Impact (eq. 9)", "Noise of evaluation", "Quality", "Tempo of music", "Other axes of preservation", "Layer numbers",
}  # fmt: skip
"""Rows that say in words why there is nothing to name."""


def options(row: dict[str, str]) -> list[str]:
    return [code for code in re.findall(r"`([^`]+)`", row["For theirs"]) if code.startswith("tada")]


def resolve(path: str) -> Any:
    """The object of a dotted path."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            found = getattr(found, name)
        return found
    raise AssertionError(path)


def check_call(node: ast.Call) -> None:
    """A call names parameters that the function has, and calls within it likewise."""
    function = resolve(ast.unparse(node.func))
    given = {str(keyword.arg) for keyword in node.keywords}
    known = inspect.signature(function).parameters
    assert given <= set(known), f"{ast.unparse(node)}: no {given - set(known)}"
    inspect.signature(function).bind_partial(*[None] * len(node.args), **dict.fromkeys(given))
    for inner in [*node.args, *(keyword.value for keyword in node.keywords)]:
        if isinstance(inner, ast.Call):
            check_call(inner)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["What"])
def test_every_divergence_has_an_option_that_exists_or_says_why_not(row: dict[str, str]) -> None:
    assert all(row.values())
    assert bool(options(row)) == (row["What"] not in LEFT_OUT)
    for code in options(row):
        if "(" in code:
            node = ast.parse(code, mode="eval").body
            assert isinstance(node, ast.Call)
            check_call(node)
        else:
            _, command, *rest = code.split()
            arguments = app.commands[command]
            while rest and not rest[0].startswith("--"):
                assert isinstance(arguments, click.Group)
                arguments = arguments.commands[rest.pop(0)]
            assert set(rest) <= {name for option in arguments.params for name in option.opts}, code


def test_values_that_are_named_are_known() -> None:
    """Values with a table of their own: presets, variants, scales, wordings."""
    known = {"scale": SCALES, "variant": curve.VARIANTS, "wording": get_args(Wording), "over": lpaps.AXES}
    code = " ".join(row["For theirs"] for row in ROWS)
    for name, values in known.items():
        found = re.findall(rf'\b{name}="([^"]+)"', code)
        assert found and set(found) <= set(values), name
    assert set(re.findall(r'sampling="([^"]+)"', code)) <= set(AceStep.presets)
