"""Counterfactual pairs: the released rules, the grammar of ours, and captions of every kind."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from tada import concepts, pairs
from tada.concepts import Concept
from tada.pairs import swaps

ROOT = Path(__file__).parents[1]
NAME = "musiccaps-public.csv"
PLACES = [os.environ.get("TADA_MUSICCAPS"), *ROOT.glob(f"data/{NAME}"), *ROOT.parent.glob(f"*/data/{NAME}")]
MUSICCAPS = next((Path(place) for place in PLACES if place and Path(place).is_file()), None)
needs_musiccaps = pytest.mark.skipif(MUSICCAPS is None, reason="no MusicCaps csv is here: name it in TADA_MUSICCAPS")

MADE_UP = """\
ytid,caption
a,"A female voice sings. Her melody is slow, and the band supports her."
b,"The male singer sings,
a guitar and a drum play behind him."
c,"This has ""quotes"", <b>violins</b> &amp; a fiddle 🎻."
d,"An upbeat JAZZ song with a violinist; Violins and strings."
e,"A woman and a man sing."
f,
g,"Trumpets, a trumpet and a trumpeter."
h,"Techno & reggae."
i,"Females only, no males."
j,"A rapid flute and an energetic flutist."
"""


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "captions.csv"
    path.write_text(MADE_UP, encoding="utf-8")
    return path


def only(frame: pd.DataFrame, concept: str, source_id: str) -> pd.Series:
    part = frame[(frame["concept"] == concept) & (frame["source_id"] == source_id)]
    assert len(part) == 1, f"{concept} of caption {source_id}: {len(part)} pairs"
    return part.iloc[0]


# ---- the released rules


def test_the_released_rules_on_a_made_up_table(csv):
    made = pairs.build(csv, rules="authors")
    found = {concept: "".join(part["source_id"]) for concept, part in made.groupby("concept")}
    # e has both sexes, i has no word of female (females is none) and "males" is none either, h has no excluded word
    assert found["female"] == "a" and found["male"] == "b"
    assert found["violin"] == "c" and found["trumpet"] == "g"  # d: "violinist", "Violins" are no keywords
    assert found["jazz"] == "d" and found["reggae"] == "h" and found["flute"] == "j"
    assert found["fast"] == "j" and found["slow"] == "a" and found["happy"] == "d" and found["drums"] == "b"


def test_released_swaps_are_lower_case_whole_words(csv):
    made = pairs.build(csv, rules="authors")
    assert only(made, "female", "a")["source"] == "A male voice sings. his melody is slow, and the band supports his."
    assert only(made, "male", "b")["source"] == "The female singer sings, a guitar and a drum play behind her."
    assert only(made, "violin", "c")["source"] == 'This has "quotes", <b>trumpet</b> &amp; a trumpet 🎻.'
    assert only(made, "flute", "j")["source"] == "A rapid maracas and an energetic maracast."
    assert only(made, "jazz", "d")["source"].startswith("An upbeat opera song")


def test_the_authors_put_words_around_pairs_of_four_concepts(csv):
    plain = pairs.build(["A fast song with a violin"], ["fast", "violin"], rules="authors")
    frame = pairs.decorate(plain)
    assert list(frame["target"]) == ["Very fast song. A fast song with a violin. Fast song.", plain["target"][1]]
    assert list(frame["source"]) == ["Very slow song. A slow song with a violin. Slow song.", plain["source"][1]]
    assert list(frame["pair"]) == list(plain["pair"]) and frame.attrs == plain.attrs
    assert [change["after"] for change in frame["changed"][0]] == ["slow", "slow", "Slow"]


def test_the_limit_takes_the_first_in_file_order():
    captions = [f"violin {n}" for n in range(9)]
    made = pairs.build(captions, "violin", rules="authors", limit=4)
    assert list(made["target"]) == captions[:4] and made.attrs["candidates"] == {"violin": 9}


@needs_musiccaps
def test_musiccaps_gives_the_released_count():
    made = pairs.build(MUSICCAPS, rules="authors")
    counts = made["concept"].value_counts()
    assert len(made) == 3246 and len(counts) == 21 and counts.max() == 256
    assert made.attrs["candidates"]["drums"] == 1851 and counts["maracas"] == 14


# ---- our rules


@pytest.mark.parametrize(
    ("concept", "text", "expected"),
    [
        ("female", "She sings. Her voice is high; they support her.", "He sings. His voice is high; they support him."),
        ("female", "what accompanies her consists of drums", "what accompanies him consists of drums"),
        ("female", "The women's choir and two girls", "The men's choir and two boys"),
        ("male", "He plays his guitar; they join him.", "She plays her guitar; they join her."),
        ("male", "the melody is his.", "the melody is hers."),
        ("happy", "An upbeat song with an uplifting end", "A downbeat song with a depressing end"),
        ("sad", "a downbeat, DEPRESSING, Sad song", "an upbeat, UPLIFTING, Happy song"),
        ("fast", "A fast-paced song speeds up", "A slow-paced song slows down"),
        ("slow", "it is slowed  down, slowly", "it is sped up, quickly"),
        ("drums", "The drum set, a drummer and drums", "The maraca set, a maraca player and maracas"),
        ("maracas", "a maraca and maracas", "a drum and drums"),
        ("violin", "Violins, a violinist, fiddles", "Trumpets, a trumpeter, trumpets"),
        ("guitar", "an e-guitar and an electric guitar", "an e-piano and an electric piano"),
        ("reggae", "a Jamaican reggae song", "an American techno song"),
        ("jazz", "a jazzy feel, jazz-like", "a techno feel, techno-like"),
        ("male", "human, mankind, Germany, there", "human, mankind, Germany, there"),  # parts of other words
        ("techno", "technology and breakfast", "technology and breakfast"),
    ],
)
def test_the_grammar_is_kept(concept, text, expected):
    assert pairs.swap(text, concepts.get(concept)) == expected


def test_every_concept_has_pairs_that_keep_every_rule():
    made = pairs.build(limit=40)
    assert set(made["concept"]) == set(concepts.names()) and len(concepts.names()) == 15
    assert made["concept"].value_counts().min() >= 32
    assert not any(made.attrs["rejected"].values())
    for row in made.itertuples():
        assert_pair(row.concept, row.target, row.source)


STEMS = {
    "female": r"female|wom[ae]n|girl|feminin|lad(?:y|ies)\b|she\b|hers?\b",
    "male": r"male|m[ae]n\b|gentlem|guys?\b|boy|masculin|he\b|his\b|him\b",
    "slow": "slow|leisur|sedate|plod|sluggish|down-?tempo",
    "fast": "fast|rapid|quick|brisk|speed|sped|up-?tempo",
    "happy": "happ|joy|cheer(?:y|ful)|upbeat|uplift|jolly|jovial|merr[iy]|glee|light-?heart|elat|overjoy|heartwarm",
    "sad": "sad|sorrow|melanchol|gloom|depress|mourn|dreary|downbeat|moros|tearful|heavy-heart|deject|heartbr|grief",
    "drums": "drum",
    "maracas": "maraca",
    "flute": "flut|flaut",
    "guitar": "guitar",
    "piano": "pian",
    "trumpet": "trumpet",
    "violin": "violin|fiddl",
    "jazz": "jazz",
    "techno": r"techno\b",
    "reggae": "reggae",
}
"""Written apart from the package's word lists: what may not begin a word of the other side."""


def assert_pair(concept: str, target: str, source: str) -> None:
    """The written rules: concept only in the target, counterpart only in the source, and nothing else changed."""
    other = concepts.get(concept).counterfactual
    has, hasnt = re.compile(rf"\b(?:{STEMS[concept]})", re.I), re.compile(rf"\b(?:{STEMS[other]})", re.I)
    assert has.search(target) and not has.search(source), (concept, target, source)
    assert hasnt.search(source) and not hasnt.search(target), (concept, target, source)
    at, rebuilt = 0, ""
    for change in pairs.changes(target, source):
        rebuilt += target[at : change["start"]] + change["after"]
        at = change["end"]
        words = change["before"].lower().split()
        swaps = concepts.get(concept).swaps
        known = {part for word in swaps for part in re.split(r"[\s-]", word)} | {"a", "an"}
        assert words and all(set(re.split(r"[-]", word)) <= known for word in words), change
    assert rebuilt + target[at:] == source
    assert not re.search(r"\b(?:a\s+(?:upbeat|uplifting|uptempo|American)|an\s+(?:down|sad|slow|male|violin))", source)


@needs_musiccaps
def test_musiccaps_pairs_keep_every_rule():
    made = pairs.build(MUSICCAPS)
    assert set(made["concept"]) == set(concepts.names())
    for _, part in made.groupby("concept"):
        for row in part.sample(min(50, len(part)), random_state=0).itertuples():
            assert_pair(row.concept, row.target, row.source)


def test_every_counterpart_is_of_the_counterfactual():
    """No swap may put in a word of its own concept, and each is a word that bars a target."""
    for name, concept in concepts.PAPER.items():
        for word, other in concept.swaps.items():
            assert not swaps.word_pattern(tuple(concept.swaps)).search(other), f"{name}: {word} -> {other}"
        assert set(concept.keywords) <= set(concept.swaps)
        assert name == "guitar" or set(concepts.get(concept.counterfactual).swaps) <= set(concept.excluded)


def test_concepts_ask_ears_in_the_paper_s_words():
    assert concepts.get("violin").query("clap") == "This is a music of Violin music"
    assert concepts.get("violin").query("muq") == "A violin-based track"
    mood = concepts.judged("mood")
    assert (mood.query("clap"), mood.table_5[1]) == ("a happy song", "a sad song")
    assert mood.query("clap", "revised") == mood.query("muq", "revised") == "a cheerful track"
    assert concepts.judged("tempo").query("muq") == "a fast-paced track"
    assert concepts.judged("classical").query("muq") == "a classical song"
    assert concepts.get("female").ear == "clap" and concepts.get("slow").ear == "muq"
    with pytest.raises(KeyError, match="did you mean 'clap'"):
        concepts.get("violin").query("clip")


# ---- rewriters and their checks


def test_every_rule_of_the_check_can_fail():
    violin = concepts.get("violin")
    good = ("A violin and an oboe.", "A trumpet and an oboe.")
    assert pairs.violations(violin, *good) == []
    bad = {
        "the target has no word of the concept": ("An oboe.", "An oboe."),
        "the target has a word of the counterfactual": ("A violin, trumpets.", "A trumpet, trumpets."),
        "the counterfactual keeps a word of the concept": ("A violin, violins.", "A trumpet, violins."),
        "the counterfactual has no word of its own": ("A violin.", "A cello."),
        "more than the concept was changed": ("A violin and an oboe.", "A trumpet and an organ."),
        "a changed word has the wrong article": ("A violin.", "An trumpet."),
        "a changed word lost its case": ("Violins play.", "trumpets play."),
    }
    for rule, texts in bad.items():
        assert rule in pairs.violations(violin, *texts), rule
    assert pairs.violations(violin, "A Violin, Loud", "A Trumpet, loud") == ["more than the concept was changed"]


def test_mistakes_of_a_rewriter_are_counted():
    answers = {"a violin": "a trumpet", "the violin": "the violin", "one violin": "two trumpets", "this violin": ""}
    made = pairs.build(list(answers), "violin", rewriter=lambda text, concept: answers[text])
    assert list(made["source"]) == ["a trumpet"]
    assert sum(made.attrs["rejected"]["violin"].values()) == 3
    assert made.attrs["rejected"]["violin"]["the counterfactual keeps a word of the concept"] == 1


def test_a_rewriter_may_use_words_of_its_own():
    def rewriter(text: str, concept: Concept) -> str:
        assert (concept.name, concept.counterfactual) == ("violin", "trumpet")
        return text.replace("violin", "muted trumpet")

    made = pairs.build(["A violin and an oboe."], ["violin"], rewriter=rewriter)
    assert made["source"][0] == "A muted trumpet and an oboe."


# ---- captions of every kind


def test_quotes_line_breaks_html_and_emoji_survive(csv):
    made = pairs.build(csv)
    row = only(made, "violin", "c")
    assert row["target"] == 'This has "quotes", <b>violins</b> &amp; a fiddle 🎻.'
    assert row["source"] == 'This has "quotes", <b>trumpets</b> &amp; a trumpet 🎻.'
    assert only(made, "male", "b")["target"] == "The male singer sings, a guitar and a drum play behind him."
    for row in made.itertuples():
        assert [row.target[c["start"] : c["end"]] for c in row.changed] == [c["before"] for c in row.changed]


def test_ids_are_those_of_the_texts(csv):
    one, two = pairs.build(csv), pairs.build(csv, limit=1)
    assert one["pair"].is_unique and pairs.build(["A violin."], "violin")["source_id"][0] == "0"
    assert set(two["pair"]) < set(one["pair"])


def test_the_embedded_captions_are_the_same_each_time():
    frame = pairs.synthetic(50)
    pairs.synthetic.cache_clear()
    assert frame.equals(pairs.synthetic(50)) and frame["caption"].nunique() > 40


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("nowhere.csv",), FileNotFoundError, "google/MusicCaps"),
        ((["A violin."], "violins"), KeyError, "did you mean 'violin'"),
        ((["A violin."], None, "author"), KeyError, "did you mean 'authors'"),
        ((["A violin."], None, "paper", 0), ValueError, "limit=0"),
        ((["A violin and a trumpet."], "violin"), ValueError, "1 have one of its words, 0 of them no excluded word"),
        ((["An oboe."],), ValueError, "none of the 1 captions"),
        ((["A violin."], []), ValueError, "no concepts"),
    ],
)
def test_what_is_wrong_is_said(arguments, error, message):
    with pytest.raises(error, match=message):
        pairs.build(*arguments)


def test_a_concept_without_pairs_is_left_out_and_counted():
    made = pairs.build(["A violin."])
    assert list(made["concept"]) == ["violin"] and made.attrs["candidates"]["jazz"] == 0


def test_a_concept_of_ones_own():
    oboe = Concept("oboe", "tuba", ("oboe",), ("tuba",), {"oboe": "tuba"})
    made = pairs.build(["An oboe.", "An oboe, a tuba."], oboe)
    assert list(made["source"]) == ["A tuba."]


# ---- controls, summary, files


def test_controls_say_nothing_of_the_concept(csv):
    made = pairs.with_controls(pairs.build(limit=8))
    for row in made.itertuples():
        words = swaps.word_pattern((*concepts.get(row.concept).swaps, *concepts.get(row.concept).excluded))
        assert not words.search(row.unrelated)
        assert row.paraphrase != row.source
        assert set(re.findall(r"\w+", row.source)) <= set(re.findall(r"\w+", row.paraphrase))
    with pytest.raises(ValueError, match="speak of violin"):
        pairs.with_controls(pairs.build(["A violin."], "violin"), ["A violin."])
    assert pairs.reorder("One. Two! Three?") == "Three? One. Two!"


def test_the_summary_counts_and_finds_leaks():
    frame = pairs.build(["A happy song.", "A happy, vibrant song, cheerful."], "happy")
    row = pairs.summary(frame).iloc[0]
    assert (row["pairs"], row["words"], row["changed"], row["longer"], row["leak"]) == (2, 4.0, 1.5, 0.0, 0.5)


def test_an_export_comes_back_the_same(csv, tmp_path):
    made = pairs.build(csv)
    plain = pd.read_csv(pairs.export(made, tmp_path / "out" / "pairs.csv"))
    assert plain.drop(columns="changed").equals(made.drop(columns="changed"))
    assert [json.loads(text) for text in plain["changed"]] == list(made["changed"])


def test_controls_depend_on_no_other_concept():
    both = pairs.with_controls(pairs.build(concepts=["happy", "slow"], limit=3))
    alone = pairs.with_controls(pairs.build(concepts=["slow"], limit=3))
    assert list(both.loc[both["concept"] == "slow", "unrelated"]) == list(alone["unrelated"])
