"""The library reference: every example runs, and every documented function has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[1] / "book" / "reference").glob("*.md"))
CODE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
DOCUMENTED = re.compile(r"^\.\. auto(?:function|class):: (\S+)(?:\n   :members: (.*))?", re.M)


def example(page: Path) -> str:
    return "\n".join(CODE.findall(page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TADA_PAGE", raising=False)
    exec(compile(example(page), str(page), "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_function_of_a_page_is_in_its_example(page: Path) -> None:
    code, missing = example(page), []
    for name, members in DOCUMENTED.findall(page.read_text()):
        functions = [name.rpartition(".")[2]] if name.rpartition(".")[2].islower() else []
        functions += [one.strip() for one in members.split(",") if one.strip()]
        missing += [f"{name}: {one}" for one in functions if not re.search(rf"\b{one}\b", code)]
    assert missing == []
