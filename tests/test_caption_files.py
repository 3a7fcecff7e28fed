"""Captions: every usual file is read as it was written, and what is none is refused with its name."""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tada import concepts, pairs
from tada.errors import InputError, TadaError

ROWS = ["A slow piano, with drums", "A fast guitar; loud | low", "None", "NA", "null", "nan", 'Schöne "Musik" é']
TABLE = pd.DataFrame({"ytid": [f"id{row}" for row in range(len(ROWS))], "caption": ROWS})
RECORDS = TABLE.to_dict("records")


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_csv(separator: str, ends: str = "\r\n") -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=ends).writerows([["ytid", "caption"], *TABLE.to_numpy()])
    return text.getvalue()


def assert_whole(path: Path) -> None:
    table = pairs.read(path)
    assert list(table["caption"]) == ROWS and list(table["source_id"]) == list(TABLE["ytid"])


@pytest.mark.filterwarnings("ignore:captions are not in UTF-8")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_encodings(tmp_path, separator, encoding):
    for name in ("a.csv", "a.CSV", "a.tsv", "a.txt", "a"):
        assert_whole(written(tmp_path, name, as_csv(separator).encode(encoding)))


@pytest.mark.parametrize("ends", ["\n", "\r", "\r\n"])
def test_line_ends_a_separator_that_is_named_and_gzip(tmp_path, ends):
    assert_whole(written(tmp_path, "a.csv", as_csv(",", ends)))
    assert_whole(written(tmp_path, "b.csv", f"sep=;{ends}{as_csv(';', ends)}"))
    assert_whole(written(tmp_path, "c.csv.gz", gzip.compress(as_csv("\t", ends).encode())))


def test_an_encoding_that_is_guessed_is_told(tmp_path):
    with pytest.warns(UserWarning, match="Windows-1252"):
        pairs.read(written(tmp_path, "a.csv", as_csv(",").encode("cp1252")))


@pytest.mark.parametrize("suffix", [".parquet", ".PARQUET", ".pq"])
def test_parquet_by_its_content(tmp_path, suffix):
    TABLE.to_parquet(tmp_path / f"a{suffix}")
    assert_whole(tmp_path / f"a{suffix}")


def test_json_of_every_shape(tmp_path):
    lines = "\n".join(map(json.dumps, RECORDS))
    shapes = {"a.jsonl": lines, "b.NDJSON": lines, "c.json": RECORDS, "d.json": TABLE.to_dict("list"), "e.txt": lines,
              "f.json": TABLE.to_dict()}  # fmt: skip
    for name, shape in shapes.items():
        assert_whole(written(tmp_path, name, shape if isinstance(shape, str) else json.dumps(shape)))
    assert list(pairs.read(written(tmp_path, "g.json", json.dumps(ROWS)))["caption"]) == ROWS


def test_a_caption_a_line(tmp_path):
    lines = ["[verse] a happy, loud song", "A sad one"]
    assert list(pairs.read(written(tmp_path, "a.txt", "\n".join(lines)))["caption"]) == lines
    assert list(pairs.read(written(tmp_path, "b.csv", "\n".join(["caption", *lines])))["caption"]) == lines


def test_several_captions_a_row_are_taken_apart(tmp_path):
    three = pd.DataFrame({"ytid": ["a", "b"], "caption": [["A slow song", "Another"], ["third"]]})
    three.to_parquet(tmp_path / "a.parquet")
    written(tmp_path, "b.jsonl", "\n".join(map(json.dumps, three.to_dict("records"))))
    three.to_csv(tmp_path / "c.csv")
    arrays = three.assign(caption=three["caption"].map(np.array))
    for way in (three, arrays, *(tmp_path / name for name in ("a.parquet", "b.jsonl", "c.csv"))):
        table = pairs.read(way)
        assert list(table["caption"]) == ["A slow song", "Another", "third"]
        assert list(table["source_id"]) == ["a-1", "a-2", "b"]
    clotho = pd.DataFrame({"file_name": ["x", "y"], "caption_1": ["one", "two"], "caption_2": ["three", None]})
    assert list(pairs.read(clotho)["caption"]) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [("a.csv", bytes(range(256)) * 4, ""), ("a.csv", b"\0\0\0", ""), ("a.csv", b'caption\n"open', ""),
     ("a.csv", b"captions,id\nA violin.,1\n", "did you mean 'captions'"), ("a.csv", b"", "is empty"),
     ("a.csv", b"caption\n", "0 rows without any caption"), ("a.csv", b'caption\n""\n" "\n', "without any caption"),
     ("a.csv", b"id,caption\n1,slow, sad\n", ""), ("a.csv.gz", b"\x1f\x8bnope", ""), ("a.pq", b"PAR1 no", ""),
     ("a.json", b"{", ""), ("a.json", b"3", ""), ("a.json", b"[1, 2]", ""), ("a.jsonl", b'{"caption": "a"}\n{', ""),
     ("a.json", b"[" * 100_000, ""), ("a.xlsx", b"PK\3\4", "save it as csv")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_name(tmp_path, name, content, why):
    with pytest.raises(InputError, match=f"{name}.*{why}.*(expected|Valid)") as error:
        pairs.read(written(tmp_path, name, content))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("captions", [{"a": 1}, 5, [1, 2], b"a song", [["a"], 3]])
def test_what_are_no_captions(captions):
    with pytest.raises(InputError, match="captions.*expected"):
        pairs.read(captions)


def test_categories_and_halves_of_characters():
    table = pd.DataFrame({"caption": pd.Categorical(["A violin."])})
    assert list(pairs.build(table, "violin")["source"]) == ["A trumpet."]
    assert list(pairs.build(["A violin \ud800 too"], "violin")["source"]) == ["A trumpet ? too"]


# ---- hostile captions


@pytest.mark.parametrize("text", ["a vıolin", "a vİolin", "VIOLIN", "a Violin", "A VİOLİN and vıolins", "ſlow music"])
def test_letters_that_match_by_case_folding_only(text):
    for rules in ("paper", "authors"):
        made = pairs.build([text, "a violin", "slow music"], ["violin", "slow"] if rules == "authors" else None, rules)
        assert len(made) >= 2


def test_the_same_caption_twice_is_two_pairs_by_the_authors_rules():
    made = pairs.build(["A violin."] * 3 + ["A fiddle."], "violin", "authors")
    once = pairs.build(["A violin."], "violin", "authors")
    assert made["pair"].is_unique and made["pair"][0] == once["pair"][0]
    assert len(pairs.build(["A violin."], ["violin", "violin"])) == 1


@pytest.mark.parametrize("part", ["happy ", "happy sad ", "a happy, ", "the happy man and her ", "x "])
def test_time_grows_with_the_length_of_a_text_not_with_its_square(part):
    def seconds(times: int) -> float:
        start, target, happy = time.process_time(), part * times, concepts.get("happy")
        source = pairs.swap(target, happy)
        pairs.violations(happy, target, source)
        pairs.changes(target, source)
        return time.process_time() - start

    shorter, longer = (min(seconds(times) for _ in range(3)) for times in (1000, 4000))
    assert longer < max(0.1, 12 * shorter)  # a square would be 16 times, a cube 64


def test_hostile_captions_end_in_pairs_or_words():
    rng = np.random.default_rng(0)
    bits = ["happy", "A", "an", "her", "ſ", "ı", "\u0130", "\0", "\ud800", "<b>", "`", "|", "\\", "🎻", "\u202e",
            "violin's", "-", "\n"]  # fmt: skip
    texts = ["".join(f"{bit} " for bit in rng.choice(bits, 12)) for _ in range(100)]
    for rules in ("paper", "authors"):
        for text in texts:
            try:
                made = pairs.build([text], None, rules)
            except TadaError:
                continue
            for row in made.itertuples():
                assert all(row.target[c["start"] : c["end"]] == c["before"] for c in row.changed)
