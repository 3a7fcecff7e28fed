"""Nothing in the library is there for its tests alone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
CALLED_BY_OTHERS = {"construct_mapping", "invoke", "resolve_command", "emit", "_repr_html_", "poll", "send_signal"}
"""Methods that click, logging, Jupyter and YAML call."""


def definitions(path: Path) -> list[str]:
    """Names of a file's functions, classes and methods, but for commands, which decorators register."""
    found = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return [node.name for node in found if not (node.decorator_list and "cli" in path.parts)]


def test_everything_defined_is_used() -> None:
    sources = list((ROOT / "tada").rglob("*.py"))
    exports = [path for path in sources if path.name == "__init__.py" and "__all__" in path.read_text()]
    places = ("notebooks", "benchmarks", "ci", "training", "book")
    others = [path for place in places for path in ROOT.glob(f"{place}/**/*")]
    texts = [path for path in others if path.suffix in (".py", ".md", ".yml", ".js")]
    texts += [path for path in sources if path not in exports]
    texts += [ROOT / name for name in ("Makefile", "pyproject.toml", "_config.yml", "README.md")]
    used = Counter(word for path in texts for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))
    defined = Counter(name for path in sources for name in definitions(path))
    dead = {name for name, count in defined.items() if used[name] <= count and not re.fullmatch(r"__\w+__", name)}
    assert dead - CALLED_BY_OTHERS == set()
