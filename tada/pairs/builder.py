"""Counterfactual pairs of prompts: a caption that holds a concept, and the same caption with its counterpart."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tada import concepts as concept_table
from tada.arguments import integer
from tada.concepts import Concept
from tada.errors import InputError
from tada.io import write_table
from tada.pairs.captions import Captions, read
from tada.pairs.swaps import changes, swap, swap_authors, violations, word_pattern

Rewriter = Callable[[str, Concept], str]
"""``rewriter(target, concept) -> counterfactual``: a language model, a person, a table."""

COLUMNS = ("pair", "concept", "counterfactual", "target", "source", "changed", "source_id")


def build(
    captions: Captions = None,
    concepts: str | Concept | Iterable[str | Concept] | None = None,
    rules: str = "paper",
    limit: int = 256,
    rewriter: Rewriter | None = None,
) -> pd.DataFrame:
    """Make pairs of prompts from captions (section 4.1 of the paper).

    Args:
        captions: a file, a table or texts, see :func:`read`; None for the synthetic captions of this package.
        concepts: names in the rule set, or concepts of your own; None for all of the rule set.
        rules: ``"paper"`` or ``"authors"`` (the released word swaps, faults and all), see :mod:`tada.concepts`.
        limit: pairs a concept at most; the first of the captions are taken.
        rewriter: ``rewriter(target, concept) -> counterfactual``; None for the word swaps of the rule set. What it
            returns is dropped and counted where it breaks a rule of :func:`violations`; the released swaps are not
            checked.

    Returns:
        One row a pair: ``pair`` (an id made of the texts), ``concept``, ``counterfactual`` (name of the counterpart),
        ``target`` (prompt with the concept, P_c), ``source`` (counterfactual prompt, P_c~), ``changed`` (list of
        ``{start, end, before, after}`` in characters of the target), ``source_id`` of the caption. In ``attrs``:
        ``rules``, ``candidates`` (captions that qualify, by concept) and ``rejected`` (concept -> rule -> count).

    Raises:
        KeyError: an unknown concept or rule set. ValueError: a limit below 1, captions that cannot be used, or a
            concept asked for by name that has no pair.
    """
    limit = integer("limit", limit, 1)
    asked = _concepts(concepts, rules)
    table = read(captions)
    released = rules == "authors"
    rewrite = rewriter or (swap_authors if released else swap)
    rows: list[dict[str, Any]] = []
    candidates, rejected = {}, {}
    for concept in asked:
        chosen = _select(table, concept, unique=not released)
        pairs, refused = _rewrite(chosen, concept, rewrite, limit, check=bool(rewriter) or not released)
        rows += pairs
        candidates[concept.name], rejected[concept.name] = len(chosen), dict(refused)
        if concepts is not None and not pairs:
            raise InputError(_no_pair(table, concept, len(chosen), refused))
    if not rows:
        raise InputError(f"none of the {len(table)} captions has a word of {', '.join(c.name for c in asked)}")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs = {"rules": rules, "candidates": candidates, "rejected": rejected}
    return frame


# ---- selection and rewriting


def _concepts(concepts: str | Concept | Iterable[str | Concept] | None, rules: str) -> list[Concept]:
    if concepts is None:
        return list(concept_table.select(rules).values())
    given = [concepts] if isinstance(concepts, str | Concept) or not np.iterable(concepts) else list(concepts)
    if not given:
        raise InputError("got no concepts; expected one or more, or None for all")
    found = [item if isinstance(item, Concept) else concept_table.get(item, rules) for item in given]
    return [concept for place, concept in enumerate(found) if concept not in found[:place]]


def _select(table: pd.DataFrame, concept: Concept, unique: bool) -> pd.DataFrame:
    """The captions with a keyword and no excluded word, in their order."""
    keyword, excluded = (table["caption"].str.contains(word_pattern(w)) for w in (concept.keywords, concept.excluded))
    chosen = table[keyword & ~excluded]
    return chosen.drop_duplicates("caption") if unique else chosen


def _rewrite(
    chosen: pd.DataFrame, concept: Concept, rewriter: Rewriter, limit: int, check: bool
) -> tuple[list[dict[str, Any]], Counter[str]]:
    rows: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    seen: Counter[tuple[str, str]] = Counter()
    for source_id, target in zip(chosen["source_id"], chosen["caption"], strict=True):
        source = rewriter(target, concept)
        broken = violations(concept, target, source) if check else []
        refused.update(broken[:1])
        if not broken:
            texts = (concept.name, concept.counterfactual, target, source)
            before = seen[target, source]  # the authors keep pairs whose texts were there before
            name = hashlib.sha256(json.dumps([*texts, before] if before else texts).encode()).hexdigest()[:12]
            rows.append(dict(zip(COLUMNS, (name, *texts, changes(target, source), source_id), strict=True)))
            seen[target, source] += 1
        if len(rows) == limit:
            break
    return rows, refused


def _no_pair(table: pd.DataFrame, concept: Concept, chosen: int, refused: Mapping[str, int]) -> str:
    found = int(table["caption"].str.contains(word_pattern(concept.keywords)).sum())
    return (
        f"no pair for {concept.name}: of {len(table)} captions {found} have one of its words, {chosen} of them no "
        f"excluded word, and {sum(refused.values())} rewrites were refused ({dict(refused)}); give other captions, or "
        "leave the concept out"
    )


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Count pairs, their words and their leakage, one row a concept.

    Args:
        frame: as from :func:`build`.

    Returns:
        ``concept, counterfactual, pairs, words`` (mean of the target), ``changed`` (mean number of changed words),
        ``longer`` (mean of words gained by the counterfactual), ``leak`` (share of counterfactuals that keep one of
        the authors' wider words for the concept; NaN where their lists lack it).
    """
    rows = []
    for name, part in frame.groupby("concept", sort=False):
        words, others = (part[side].map(lambda text: len(text.split())) for side in ("target", "source"))
        wider = concept_table.AUTHORS.get(str(name))
        leaks = part["source"].str.contains(word_pattern((*wider.keywords, *wider.swaps))).mean() if wider else np.nan
        about = (name, part["counterfactual"].iloc[0], len(part))
        rows.append((*about, words.mean(), part["changed"].map(len).mean(), (others - words).mean(), leaks))
    return pd.DataFrame(rows, columns=["concept", "counterfactual", "pairs", "words", "changed", "longer", "leak"])


def decorate(frame: pd.DataFrame) -> pd.DataFrame:
    """Put the authors' words around both prompts of pairs, as their runs of AudioLDM2 and Stable Audio do.

    Args:
        frame: as from :func:`build`; pairs keep their names, those of concepts without such words all that they have.
    """
    frames = [concept_table.AUTHORS.get(name, Concept(name, "")).frame for name in frame["concept"]]
    for place, side in enumerate(("target", "source")):
        texts = [around[place].format(caption=text) for around, text in zip(frames, frame[side], strict=True)]
        frame = frame.assign(**{side: texts})
    changed: Any = [changes(*texts) for texts in zip(frame["target"], frame["source"], strict=True)]
    return frame.assign(changed=changed)


# ---- controls


def with_controls(frame: pd.DataFrame, captions: Captions = None) -> pd.DataFrame:
    """Add two prompts that say nothing of the concept to every pair, as controls for patching.

    Args:
        frame: as from :func:`build`.
        captions: where unrelated prompts come from: a file, a table or texts, see :func:`read`.

    Returns:
        The pairs with columns ``paraphrase`` (of the source, by :func:`reorder`) and ``unrelated`` (another caption,
        with no word of the concept or its counterfactual).

    Raises:
        ValueError: captions that all speak of the concept.
    """
    unrelated = _unrelated(frame, list(read(captions)["caption"]))
    controlled = frame.assign(paraphrase=frame["source"].map(reorder), unrelated=unrelated)
    controlled.attrs = frame.attrs
    return controlled


def _unrelated(frame: pd.DataFrame, texts: Sequence[str]) -> list[str]:
    rules = concept_table.select(frame.attrs.get("rules", "paper"))
    parts = []
    for name, part in frame.groupby("concept", sort=False):  # each concept by itself, whatever is beside it
        known = rules.get(str(name))
        words = (*known.swaps, *known.excluded) if known else (str(name), str(part["counterfactual"].iloc[0]))
        silent = [text for text in texts if not word_pattern(tuple(words)).search(text)]
        if not silent:
            raise InputError(f"all {len(texts)} captions speak of {name}: give others for the unrelated prompts")
        parts.append(pd.Series([silent[(i * 7919 + 13) % len(silent)] for i in range(len(part))], part.index))
    return pd.concat(parts).loc[frame.index].to_list()


def reorder(text: str) -> str:
    """Paraphrase a text: put its last sentence first, or a few words before a single one."""
    sentences = re.split(r"(?<=[.!?])\s+", text.strip())
    return " ".join([sentences[-1], *sentences[:-1]]) if len(sentences) > 1 else f"This is music: {text}"


def export(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write pairs as a csv file, changed words as json; return its path."""
    flat = frame.assign(changed=frame["changed"].map(lambda spans: json.dumps(list(spans), ensure_ascii=False)))
    return write_table(path, flat)
