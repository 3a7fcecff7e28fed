"""Sentences of the pages cannot lie: none states an outcome that another run, checkpoint or profile contradicts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import tada

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "notebooks").glob("*.py")), *sorted((ROOT / "book").rglob("*.md")), ROOT / "README.md"]

CONTRADICTED = [
    r"with random weights these patterns",
    r"no sign of music",
    r"recall is (less|more|below|above)",
    r"goes on from the mini",
    r"for this reason",
    r"this was not done",
    r"the last of the functional ones",
    r"at this profile",
    r"whose truth is the renderer",
    r"(prompts|pairs|clips) are few(?! or)\b(?<!where prompts are few)",
    r"(as|just as) (we|you) (see|saw|hear|heard)",
    r"the (figure|table|map|curve)s? (above|below)? ?(shows?|proves?|confirms?) that (the|a|few|most|one|two)",
]
"""What pages once said although a run could say otherwise, and its like."""

OUTCOME = re.compile(
    r"\b(reaches|rises?|rose|falls? (to|by)|drops?|wins?|won|outperforms?|explains|moves (it|them)? ?by|"
    r"(better|worse|higher|lower|larger|smaller|stronger|weaker) than|times as|percent of|accura\w+ of|"
    r"recall of|precision of|correlat\w+|agrees?|turned out)\b",
    re.IGNORECASE,
)
NUMBER = re.compile(r"(?<![\w.$-])[-+]?\.?\d[\d,.]*(?!\w)( ?%)?")
ATTRIBUTED = re.compile(
    r"\b(paper|authors?|published|version|equation|eq|section|would|rule|threshold|reported|says)\b", re.IGNORECASE
)
"""Words of sentences that say whose number it is, or that speak of a rule."""


def markdown(path: Path) -> str:
    """The text of a page: of a notebook its markdown cells and what its code shows as markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    cells = re.split(r"^# %%", text, flags=re.M)[1:]
    told = [re.sub(r"^# ?", "", cell.partition("\n")[2], flags=re.M) for cell in cells if "[markdown]" in cell[:12]]
    return "\n\n".join([*told, *shown(text)])


def shown(source: str) -> Iterator[str]:
    """Constant parts of at least five words of the texts in a notebook's code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) >= 5:
            yield node.value


def sentences(text: str) -> list[str]:
    """Sentences without code, formulas, tables of figures, links and addresses."""
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$|`[^`]*`|\]\([^)]*\)|<[^>]*>|\{cite:p\}", " ", text, flags=re.S)
    parts = re.split(r"(?<=[.!?:])(?<!Eq\.)(?<!eq\.)\s+|\n\s*\n|\n[-|#]", text)
    return [" ".join(part.split()) for part in parts if part.strip()]


def lies(text: str) -> list[str]:
    """Sentences that a run could contradict."""
    found = []
    for sentence in sentences(text):
        listed = any(re.search(pattern, sentence, re.I) for pattern in CONTRADICTED)
        claimed = OUTCOME.search(sentence) and NUMBER.search(sentence) and not ATTRIBUTED.search(sentence)
        found += [sentence] if listed or claimed else []
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_no_sentence_states_what_a_run_could_contradict(page: Path) -> None:
    assert lies(markdown(page)) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "With random weights these patterns are those of random numbers, and the stripes are no sign of music.",
        "Each has a part of the impact only, and the recall is less than 1.",
        "The prompts are few at this profile, and the intervals are wide.",
        "Steering layer 3 wins in 4 of 5 concepts.",
        "The probe is right, with an accuracy of .97 over all clips.",
        "The functional layers have 2.5 times as much effect.",
    ],
)
def test_such_sentences_are_found(sentence: str) -> None:
    assert lies(f"A page. {sentence} It goes on.") == [sentence]


@pytest.mark.parametrize("checkpoint", ["", "mini"])
def test_page_01_speaks_of_random_weights_only_where_they_are(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "IPython.display.display", lambda *shown: said.extend(str(getattr(x, "data", x)) for x in shown)
    )
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    monkeypatch.setattr("tada.ARCHITECTURES", {"ace-step": tada.ARCHITECTURES["ace-step"]})
    monkeypatch.chdir(tmp_path)
    source = (ROOT / "notebooks" / "01_models_and_sites.py").read_text(encoding="utf-8")
    quick = {"architecture": "ace-step", "checkpoint": checkpoint, "steps": 2, "seconds": 0.4}
    for name, value in quick.items():
        source = re.sub(rf"^{name}: .*", f"{name} = {value!r}", source, flags=re.M)
    page: dict[str, object] = {}
    exec(compile(source, "01_models_and_sites.py", "exec"), page)
    plt.close("all")
    assert ("weights are random" in "".join(said)) == (not checkpoint)
    assert lies("\n\n".join(said)) == []
    assert 0 <= int(str(page["layer"])) < len(page["model"].sites)  # type: ignore[attr-defined]


def test_first_sentences_give_the_finding_as_the_paper_s() -> None:
    for name in ("README.md", "book/index.md"):
        lead = re.sub(r"^# .*", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.M).split()[:50]
        assert {"paper", "finds"} <= {re.sub(r"\W|<.*", "", word) for word in lead}, lead
