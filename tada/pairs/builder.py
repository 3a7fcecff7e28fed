"""Counterfactual pairs of prompts: a caption that holds a concept, and the same caption with its counterpart."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from tada import concepts as concept_table
from tada.concepts.table import Concept
from tada.errors import InputError, MissingFileError, unknown
from tada.io import atomic_write, write_table
from tada.pairs.swaps import any_of, changes, faults, swap, swap_released

__all__ = [
    "build", "changes", "export", "faults", "language_model_rewriter", "read", "reorder", "summary", "swap",
    "swap_released", "synthetic", "with_controls",
]  # fmt: skip

Rewriter = Callable[[str, Concept], str]
Captions = pd.DataFrame | str | Path | Sequence[str] | None

COLUMNS = ("pair", "concept", "counterfactual", "target", "source", "changed", "source_id")
MUSICCAPS = ("google/MusicCaps", "musiccaps-public.csv")
EMBEDDED = 6000
"""Captions of synthetic music that are drawn when no others are given."""


def build(
    captions: Captions = None,
    concepts: str | Concept | Iterable[str | Concept] | None = None,
    rules: str = "paper",
    limit: int = 256,
    rewriter: Rewriter | None = None,
) -> pd.DataFrame:
    """Pairs of prompts from captions (section 4.1 of the paper).

    Args:
        captions: as for :func:`read`; None for the synthetic captions of this package.
        concepts: names in the rule set, or concepts of your own; None for all of the rule set.
        rules: ``"paper"`` or ``"authors"`` (the released word swaps, faults and all), see :mod:`tada.concepts`.
        limit: at most so many pairs a concept, the first of the captions.
        rewriter: ``rewriter(target, concept) -> counterfactual``; None for the word swaps of the rule set. What it
            returns is checked by :func:`faults`, and dropped and counted where it fails; the released swaps are not
            checked.

    Returns:
        One row a pair: ``pair`` (an id made of the texts), ``concept``, ``counterfactual`` (name of the counterpart),
        ``target`` (prompt with the concept, P_c), ``source`` (counterfactual prompt, P_c~), ``changed`` (list of
        ``{start, end, before, after}`` in characters of the target), ``source_id`` of the caption. In ``attrs``:
        ``rules``, ``candidates`` (captions that qualify, by concept) and ``rejected`` (concept -> fault -> count).

    Raises:
        KeyError: an unknown concept or rule set. ValueError: a limit below 1, captions that cannot be used, or a
            concept asked for by name that has no pair.
    """
    if limit < 1:
        raise InputError(f"got limit={limit}; expected 1 or more pairs a concept")
    wanted = _concepts(concepts, rules)
    table = read(captions)
    checked = rewriter is not None or rules != "authors"
    rewrite = rewriter or (swap_released if rules == "authors" else swap)
    rows: list[dict[str, Any]] = []
    candidates, rejected = {}, {}
    for concept in wanted:
        chosen = _select(table, concept, unique=rules != "authors")
        made, refused = _rewritten(chosen, concept, rewrite, limit, checked)
        rows += made
        candidates[concept.name], rejected[concept.name] = len(chosen), dict(refused)
        if concepts is not None and not made:
            raise InputError(_nothing(table, concept, len(chosen), refused))
    if not rows:
        raise InputError(f"none of the {len(table)} captions has a word of {', '.join(c.name for c in wanted)}")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs = {"rules": rules, "candidates": candidates, "rejected": rejected}
    return frame


# ---- captions


def read(captions: Captions = None) -> pd.DataFrame:
    """Captions from wherever they are.

    Args:
        captions: a csv or Parquet file, a table with a column ``caption``, texts, or the hub id
            ``"google/MusicCaps"``; None for synthetic captions.

    Returns:
        A table ``source_id, caption``: line breaks made spaces, empty captions left out. The id is the column
        ``ytid``, ``source_id`` or ``id`` where there is one, else the number of the row.

    Raises:
        ValueError: no captions, or no such column. OSError: no such file, or the hub cannot be reached.
    """
    if captions is None:
        return synthetic()
    if isinstance(captions, str | Path):
        captions = _file(captions)
    frame = captions if isinstance(captions, pd.DataFrame) else pd.DataFrame({"caption": list(captions)})
    if "caption" not in frame:
        raise InputError(unknown("column", "caption", frame.columns, "Captions are read from a column of that name."))
    ids = next((frame[name] for name in ("ytid", "source_id", "id") if name in frame), pd.Series(range(len(frame))))
    texts = frame["caption"].fillna("").astype(str).str.replace(r"\r\n|\r|\n", " ", regex=True)
    table = pd.DataFrame({"source_id": ids.astype(str).to_numpy(), "caption": texts.to_numpy()})
    table = table[table["caption"].str.strip() != ""].reset_index(drop=True)
    if table.empty:
        raise InputError(f"got {len(frame)} rows without any caption; expected one text a row")
    return table


@lru_cache(maxsize=2)
def synthetic(count: int = EMBEDDED) -> pd.DataFrame:
    """Captions of synthetic music, the same each time, as :func:`read` gives them."""
    from tada.minis.attributes import draw
    from tada.minis.captions import caption

    texts = [caption(draw(seed), seed).text for seed in range(count)]
    return pd.DataFrame({"source_id": [f"synthetic-{seed}" for seed in range(count)], "caption": texts})


def _file(path: str | Path) -> pd.DataFrame:
    if str(path) == MUSICCAPS[0]:
        path = _download(*MUSICCAPS)
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(f"no file {path}; expected a csv or Parquet file of captions, or {MUSICCAPS[0]!r}")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty; expected a table with a column 'caption'") from None


def _download(name: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, repo_type="dataset"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OSError(
            f"{name} cannot be had ({type(error).__name__}): accept its terms on its hub page and log in with "
            f"`hf auth login`, or download {file} yourself and give its path"
        ) from error


# ---- selection and rewriting


def _concepts(concepts: str | Concept | Iterable[str | Concept] | None, rules: str) -> list[Concept]:
    if concepts is None:
        return list(concept_table.select(rules).values())
    given = [concepts] if isinstance(concepts, str | Concept) else list(concepts)
    if not given:
        raise InputError("got no concepts; expected one or more, or None for all")
    return [item if isinstance(item, Concept) else concept_table.get(item, rules) for item in given]


def _select(table: pd.DataFrame, concept: Concept, unique: bool) -> pd.DataFrame:
    """The captions with a keyword and no excluded word, in their order."""
    wanted, unwanted = any_of(concept.keywords), any_of(concept.excluded)
    mask = [bool(wanted.search(text)) and not unwanted.search(text) for text in table["caption"]]
    chosen = table[mask]
    return chosen[~chosen["caption"].duplicated()] if unique else chosen


def _rewritten(
    chosen: pd.DataFrame, concept: Concept, rewrite: Rewriter, limit: int, checked: bool
) -> tuple[list[dict[str, Any]], Counter[str]]:
    rows: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    for source_id, target in zip(chosen["source_id"], chosen["caption"], strict=True):
        source = rewrite(target, concept)
        wrong = faults(concept, target, source) if checked else []
        refused.update(wrong[:1])
        if not wrong:
            texts = (concept.name, concept.counterfactual, target, source)
            rows.append(dict(zip(COLUMNS, (_id(texts), *texts, changes(target, source), source_id), strict=True)))
        if len(rows) == limit:
            break
    return rows, refused


def _id(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def _nothing(table: pd.DataFrame, concept: Concept, chosen: int, refused: Mapping[str, int]) -> str:
    found = int(table["caption"].str.contains(any_of(concept.keywords)).sum())
    return (
        f"no pair for {concept.name}: of {len(table)} captions {found} have one of its words, {chosen} of them no "
        f"excluded word, and {sum(refused.values())} rewrites were refused ({dict(refused)}); give other captions, or "
        "leave the concept out"
    )


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Counts, lengths and leakage of pairs, one row a concept.

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
        rows.append(
            {
                "concept": name,
                "counterfactual": part["counterfactual"].iloc[0],
                "pairs": len(part),
                "words": words.mean(),
                "changed": part["changed"].map(len).mean(),
                "longer": (others - words).mean(),
                "leak": _leak(str(name), part["source"]),
            }
        )
    return pd.DataFrame(rows)


def _leak(name: str, texts: pd.Series) -> float:
    wider = concept_table.AUTHORS.get(name)
    if wider is None:
        return float("nan")
    pattern = any_of(tuple(dict.fromkeys([*wider.keywords, *wider.swaps])))
    return float(texts.map(lambda text: bool(pattern.search(text))).mean())


# ---- controls


def with_controls(
    frame: pd.DataFrame, captions: Captions = None, paraphrase: Callable[[str], str] | None = None
) -> pd.DataFrame:
    """Pairs with two prompts that say nothing of the concept, as controls for patching.

    Args:
        frame: as from :func:`build`.
        captions: where unrelated prompts come from, as for :func:`read`.
        paraphrase: says a prompt in another way; None for :func:`reorder`.

    Returns:
        The pairs with columns ``paraphrase`` (of the source) and ``unrelated`` (another caption, with no word of the
        concept or its counterfactual).

    Raises:
        ValueError: captions that all speak of the concept.
    """
    texts, say = list(read(captions)["caption"]), paraphrase or reorder
    extra = {"paraphrase": [say(text) for text in frame["source"]], "unrelated": _unrelated(frame, texts)}
    done = frame.assign(**extra)
    done.attrs = frame.attrs
    return done


def _unrelated(frame: pd.DataFrame, texts: Sequence[str]) -> list[str]:
    rules, silent, chosen = frame.attrs.get("rules", "paper"), {}, []
    places = frame.groupby("concept", sort=False).cumcount()  # so that other concepts beside it change nothing
    for i, row in zip(places, frame.itertuples(), strict=True):
        name = str(row.concept)
        if name not in silent:
            known = concept_table.RULES[rules].get(name)
            words = (name, str(row.counterfactual)) if known is None else (*known.swaps, *known.excluded)
            silent[name] = [text for text in texts if not any_of(tuple(words)).search(text)]
            if not silent[name]:
                raise InputError(f"all {len(texts)} captions speak of {name}: give others for the unrelated prompts")
        chosen.append(silent[name][(i * 7919 + 13) % len(silent[name])])
    return chosen


def reorder(text: str) -> str:
    """A paraphrase without a language model: the last sentence comes first; a single sentence gets a few words more."""
    sentences = re.split(r"(?<=[.!?])\s+", text.strip())
    return " ".join([sentences[-1], *sentences[:-1]]) if len(sentences) > 1 else f"This is music: {text}"


# ---- a rewriter with a language model


INSTRUCTION = (
    "Rewrite the caption of a piece of music so that it is about {counterfactual} instead of {concept}. Replace only "
    "the words about {concept} by their counterparts and keep every other word as it is.\nCaption: {text}\nRewritten:"
)


def language_model_rewriter(model: Any, tokenizer: Any = None, longest: int = 256) -> Rewriter:
    """A rewriter over a local text-generation model of ``transformers`` (the paper asked GPT-4).

    Args:
        model: a folder or hub id, or a loaded causal language model.
        tokenizer: of a loaded model.
        longest: new tokens at most.

    Returns:
        ``rewriter(target, concept) -> counterfactual`` for :func:`build`: greedy, the first line of the answer.

    Raises:
        ValueError: a loaded model without its tokenizer.
    """
    if isinstance(model, str | Path):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model)
        model = AutoModelForCausalLM.from_pretrained(model).eval()
    if tokenizer is None:
        raise InputError("got a model without a tokenizer; expected both, or the folder or hub id of both")

    def rewrite(target: str, concept: Concept) -> str:
        asked = INSTRUCTION.format(concept=concept.name, counterfactual=concept.counterfactual, text=target)
        return _answer(model, tokenizer, asked, longest)

    return rewrite


def _answer(model: Any, tokenizer: Any, asked: str, longest: int) -> str:
    import torch

    if getattr(tokenizer, "chat_template", None):
        turn = [{"role": "user", "content": asked}]
        asked = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(asked, return_tensors="pt").to(model.device)
    with torch.no_grad():
        output = model.generate(**inputs, max_new_tokens=longest, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    text = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return (text.strip().splitlines() or [""])[0].strip()


# ---- files


CARD = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
size_categories:
- n<10K
---

# Counterfactual prompt pairs

{count} pairs of prompts for {concepts} concepts, rule set `{rules}`: `target` holds the concept, `source` its
counterpart, all else is the same. Made by the TADA companion. The captions keep the licence of the set they are from.
"""


def export(frame: pd.DataFrame, folder: str | Path) -> dict[str, Path]:
    """Write pairs as csv, as Parquet, and as a folder that ``datasets.load_dataset`` opens.

    Args:
        frame: as from :func:`build`.
        folder: made if missing; each file is replaced whole.

    Returns:
        What was written: ``"csv"`` (changed words as json), ``"parquet"`` and ``"dataset"`` (a folder).
    """
    folder = Path(folder)
    flat = frame.assign(changed=frame["changed"].map(lambda spans: json.dumps(list(spans), ensure_ascii=False)))
    paths = {"csv": folder / "pairs.csv", "parquet": folder / "pairs.parquet", "dataset": folder / "dataset"}
    write_table(paths["csv"], flat)
    write_table(paths["parquet"], frame)
    write_table(paths["dataset"] / "data" / "train-00000-of-00001.parquet", frame)
    counts = {"count": len(frame), "concepts": frame["concept"].nunique(), "rules": frame.attrs.get("rules", "own")}
    atomic_write(paths["dataset"] / "README.md", CARD.format(**counts))
    return paths
