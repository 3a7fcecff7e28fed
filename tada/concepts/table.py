"""The musical concepts of the paper: one type, and the tables of ``tada/data/concepts.json``.

``PAPER`` holds the fifteen concepts of section 4.1, found in layers; ``AUTHORS`` the 21 of the released word lists,
word for word; ``STEERED`` those that are steered (section 4.2 and the authors' later code).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from tada.errors import check_name

QUERY_TEMPLATES: Mapping[str, str] = {"clap": "This is a music of {query}", "muq": "A {query} track"}
"""Audio-text model -> the sentence for concepts that have no query of their own (the authors' evaluation)."""


@dataclass(frozen=True)
class Concept:
    """A concept and what stands against it.

    Attributes:
        name: of the concept.
        counterfactual: what stands in its place; empty for its mere absence.
        keywords: a caption with one of these words is about the concept.
        excluded: a caption with one of these is not taken.
        swaps: word of the concept -> its counterpart, in lower case unless it is a name.
        frame: what the authors' runs of AudioLDM2 and Stable Audio put around a caption with the concept and around its
            counterpart, with ``{caption}``.
        queries: audio-text model (``"clap"``, ``"muq"``) -> the text that clips are compared with.
        table_5: the text of the paper's Table 5 for either model, and one for the opposite where it has one.
        ear: the model that the paper measures this concept with.
        positive: what positive strengths lead to; empty for the concept's name.
        templates: ``"paper"`` and ``"revised"`` (the authors' later code) -> templates of prompts with the concept and
            without, with ``{base}`` for a base prompt.
        neutral: wording -> template of prompts that are steered, which do not ask for either pole.
        bases: which base prompts the templates take.
        lyrics: for models that sing: ``"[inst]"`` for nobody sings, empty for whatever the model sings of itself.
        tau: features of a sparse autoencoder that the paper adds up for it (section 4.2).
        attribute: what the minis' renderer calls it; empty where it cannot be played.
    """

    name: str
    counterfactual: str
    keywords: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    swaps: Mapping[str, str] = field(default_factory=dict)
    frame: tuple[str, str] = ("{caption}", "{caption}")
    queries: Mapping[str, str] = field(default_factory=dict)
    table_5: tuple[str, ...] = ()
    ear: str = "muq"
    positive: str = ""
    templates: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    neutral: Mapping[str, str] = field(default_factory=dict)
    bases: str = "plain"
    lyrics: str = "[inst]"
    tau: int = 20
    attribute: str = ""

    @property
    def poles(self) -> tuple[str, str]:
        """What positive strengths lead to, and what stands against it (empty for its mere absence)."""
        return self.positive or self.name, self.counterfactual

    @property
    def negative(self) -> str:
        """What negative strengths lead to, in words."""
        return self.counterfactual or f"no {self.name}"

    def query(self, ear: str, wording: str = "paper") -> str:
        """Give the text that a clip is compared with.

        Args:
            ear: the audio-text model, ``"clap"`` or ``"muq"``.
            wording: ``"paper"``: of Table 5 where the concept is there; ``"revised"``: of the authors' later code.

        Raises:
            KeyError: another model.
        """
        check_name("ear", ear, QUERY_TEMPLATES)
        if wording == "paper" and self.table_5:
            return self.table_5[0]
        return self.queries.get(ear) or QUERY_TEMPLATES[ear].format(query=self.name)


def _concept(name: str, entry: Mapping[str, Any]) -> Concept:
    lists = {key: tuple(entry[key]) for key in ("keywords", "excluded", "frame", "table_5") if key in entry}
    return Concept(**{"name": name, "positive": name, "counterfactual": "", **entry, **lists})


DATA: Mapping[str, Any] = json.loads((files("tada.data") / "concepts.json").read_text(encoding="utf-8"))

PAPER, AUTHORS, STEERED = (
    {name: _concept(name, entry) for name, entry in DATA[table].items()} for table in ("paper", "authors", "steered")
)

RULES: Mapping[str, Mapping[str, Concept]] = {"paper": PAPER, "authors": AUTHORS}
"""Rule set for prompt pairs -> its concepts by name."""

TABLE_1 = ("tempo", "mood", "vocal gender", "piano")
"""The concepts of Table 1."""

NINE = ("piano", "mood", "tempo", "vocal gender", "violin", "vocal style", "guitar", "jazz", "classical")
"""The concepts of the benchmark in the paper's later versions, on public checkpoints."""

JUDGED: Mapping[str, Concept] = {**STEERED, **AUTHORS, **PAPER, **{name: STEERED[name] for name in TABLE_1}}
"""Name -> concept for all that clips are judged by; of several by one name Table 1's, else the paper's."""


def select(rules: str) -> Mapping[str, Concept]:
    """Give the concepts of a rule set by name; KeyError with the nearest where there is none."""
    check_name("rule set", rules, RULES)
    return RULES[rules]


def get(name: str, rules: str = "paper") -> Concept:
    """Give the concept ``name`` of a rule set; KeyError with the nearest names where there is none."""
    table = select(rules)
    check_name(f"concept in the rule set {rules!r}", name, table)
    return table[name]


def names(rules: str = "paper") -> tuple[str, ...]:
    """List the concepts of a rule set."""
    return tuple(select(rules))


def family(name: str) -> tuple[str, ...]:
    """Give a concept with the one that it is swapped for and that is swapped for it, if there is one, in order.

    >>> family("violin"), family("flute")
    (('trumpet', 'violin'), ('flute',))
    """
    other = get(name).counterfactual
    mirrored = other in PAPER and PAPER[other].counterfactual == name
    return tuple(sorted((name, other))) if mirrored else (name,)


def judged(name: str) -> Concept:
    """Give the concept that clips are judged by; KeyError with the nearest names where there is none."""
    name = name.replace("_", " ")
    check_name("concept", name, JUDGED)
    return JUDGED[name]
