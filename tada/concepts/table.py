"""The musical concepts: their words, the words that stand against them, and the texts that ask for them.

``paper`` holds the fifteen concepts of section 4.1. Their full word table is not part of the public text, so the words
here are ours: every word has a counterpart of the same kind and number, and the counterfactual of a concept is one of
the same family that every model of this project can play. ``authors`` holds the 21 concepts of the released word
lists, word for word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

from tada.errors import UnknownNameError, unknown

TEMPLATES: Mapping[str, str] = {"clap": "This is a music of {query}", "muq": "A {query} track"}
"""Ear -> the sentence that a query is put into (the authors' evaluation)."""


@dataclass(frozen=True)
class Concept:
    """A concept and what stands against it.

    Attributes:
        name: of the concept.
        counterfactual: name of what stands in its place.
        keywords: a caption that has one of these words is about the concept.
        excluded: a caption that has one of these is not taken: words of the counterfactual, and compounds that no
            swap of single words gets right.
        swaps: word of the concept -> its counterpart, in lower case unless it is a name.
        queries: ear -> what similarity to the concept is measured against, for :data:`TEMPLATES`.
    """

    name: str
    counterfactual: str
    keywords: tuple[str, ...]
    excluded: tuple[str, ...]
    swaps: Mapping[str, str]
    queries: Mapping[str, str] = field(default_factory=dict)

    @property
    def judge(self) -> str:
        """The ear that the paper measures this concept with: CLAP for vocal gender, MuQ for all else."""
        return "clap" if self.name in ("female", "male") else "muq"

    def query(self, ear: str) -> str:
        """The full text that ``ear`` compares a clip with."""
        if ear not in TEMPLATES:
            raise UnknownNameError(unknown("ear", ear, TEMPLATES))
        return TEMPLATES[ear].format(query=self.queries.get(ear, self.name))


def get(name: str, rules: str = "paper") -> Concept:
    """The concept ``name`` of a rule set; KeyError with the nearest names where there is none."""
    table = RULES[check_rules(rules)]()
    if name not in table:
        raise UnknownNameError(unknown(f"concept in the rule set {rules!r}", name, table))
    return table[name]


def names(rules: str = "paper") -> tuple[str, ...]:
    """The concepts of a rule set."""
    return tuple(RULES[check_rules(rules)]())


def check_rules(rules: str) -> str:
    """``rules`` if it is a rule set, else KeyError with the nearest."""
    if rules not in RULES:
        raise UnknownNameError(unknown("rule set", rules, RULES))
    return rules


@lru_cache
def authors() -> Mapping[str, Concept]:
    """The released word lists, 21 concepts."""
    table = json.loads(files("tada.data").joinpath("authors_keywords.json").read_text(encoding="utf-8"))["concepts"]
    return {
        name: Concept(
            name, _AUTHORS_COUNTERFACTUAL[name], tuple(lists["keywords"]), tuple(lists["excluded"]), lists["swaps"]
        )
        for name, lists in table.items()
    }


@lru_cache
def paper() -> Mapping[str, Concept]:
    """The concepts of section 4.1."""
    return {
        name: Concept(
            name,
            other,
            tuple(word for word in _WORDS[name] if word not in _NOT_ENOUGH),
            tuple(dict.fromkeys([*_against(other), *_COMPOUNDS.get(name, ())])),
            _WORDS[name],
            _QUERIES[name],
        )
        for name, other in _COUNTERFACTUAL.items()
    }


RULES = {"paper": paper, "authors": authors}

_COUNTERFACTUAL = {
    "female": "male",
    "male": "female",
    "slow": "fast",
    "fast": "slow",
    "happy": "sad",
    "sad": "happy",
    "drums": "maracas",
    "flute": "violin",
    "guitar": "piano",
    "maracas": "drums",
    "trumpet": "violin",
    "violin": "trumpet",
    "jazz": "techno",
    "techno": "jazz",
    "reggae": "techno",
}

_AUTHORS_COUNTERFACTUAL = {
    "female": "male",
    "male": "female",
    "fast": "slow",
    "slow": "fast",
    "happy": "sad",
    "sad": "happy",
    "reggae": "metal",
    "metal": "reggae",
    "jazz": "opera",
    "opera": "jazz",
    "violin": "trumpet",
    "trumpet": "violin",
    "saxophone": "drums",
    "drums": "saxophone",
    "cello": "bongos",
    "bongos": "cello",
    "flute": "maracas",
    "maracas": "flute",
    "harmonica": "harp",
    "trombone": "xylophone",
    "xylophone": "trombone",
}

_FEMALE = {
    "female": "male",
    "females": "males",
    "woman": "man",
    "women": "men",
    "lady": "gentleman",
    "ladies": "gentlemen",
    "girl": "boy",
    "girls": "boys",
    "girlish": "boyish",
    "feminine": "masculine",
    "she": "he",
    "her": "his",  # or "him", see tada.pairs
    "hers": "his",
    "herself": "himself",
}

_MALE = {
    "male": "female",
    "males": "females",
    "man": "woman",
    "men": "women",
    "gentleman": "lady",
    "gentlemen": "ladies",
    "guy": "girl",
    "guys": "girls",
    "boy": "girl",
    "boys": "girls",
    "boyish": "girlish",
    "masculine": "feminine",
    "he": "she",
    "his": "her",  # or "hers", see tada.pairs
    "him": "her",
    "himself": "herself",
}

_SLOW = {
    "slow": "fast",
    "slower": "faster",
    "slowest": "fastest",
    "slowly": "quickly",
    "slows down": "speeds up",
    "slowing down": "speeding up",
    "slowed down": "sped up",
    "slowed-down": "sped-up",
    "slow down": "speed up",
    "slows": "quickens",
    "slowing": "quickening",
    "slowed": "quickened",
    "leisurely": "brisk",
    "sedate": "brisk",
    "plodding": "brisk",
    "sluggish": "speedy",
    "downtempo": "uptempo",
    "down-tempo": "up-tempo",
}

_FAST = {
    "fast": "slow",
    "faster": "slower",
    "fastest": "slowest",
    "speeds up": "slows down",
    "speeding up": "slowing down",
    "sped up": "slowed down",
    "sped-up": "slowed-down",
    "speed up": "slow down",
    "quickens": "slows",
    "quickening": "slowing",
    "quickened": "slowed",
    "quick": "slow",
    "quicker": "slower",
    "quickly": "slowly",
    "rapid": "slow",
    "rapidly": "slowly",
    "brisk": "leisurely",
    "briskly": "slowly",
    "speedy": "sluggish",
    "uptempo": "downtempo",
    "up-tempo": "down-tempo",
}

_HAPPY = {
    "happy": "sad",
    "happily": "sadly",
    "happiness": "sadness",
    "happier": "sadder",
    "joyful": "sorrowful",
    "joyfully": "sorrowfully",
    "joyous": "mournful",
    "joyously": "mournfully",
    "joy": "sorrow",
    "cheerful": "gloomy",
    "cheerfully": "gloomily",
    "cheery": "dreary",
    "upbeat": "downbeat",
    "uplifting": "depressing",
    "jolly": "mournful",
    "jovial": "morose",
    "merry": "mournful",
    "merrily": "mournfully",
    "gleeful": "tearful",
    "lighthearted": "heavy-hearted",
    "light-hearted": "heavy-hearted",
}

_SAD = {
    "sad": "happy",
    "sadly": "happily",
    "sadness": "happiness",
    "sadder": "happier",
    "sorrowful": "joyful",
    "sorrowfully": "joyfully",
    "sorrow": "joy",
    "mournful": "joyous",
    "mournfully": "joyously",
    "gloomy": "cheerful",
    "gloomily": "cheerfully",
    "cheerless": "cheerful",
    "melancholic": "cheerful",
    "depressing": "uplifting",
    "depressed": "elated",
    "depressive": "uplifting",
    "dejected": "elated",
    "morose": "jovial",
    "tearful": "gleeful",
    "dreary": "cheery",
    "downbeat": "upbeat",
    "heavy-hearted": "light-hearted",
    "heartbroken": "overjoyed",
    "heartbreaking": "heartwarming",
    "grief": "joy",
}

_DRUMS = {
    "drums": "maracas",
    "drum": "maraca",
    "drummer": "maraca player",
    "drummers": "maraca players",
    "drumming": "maraca playing",
    "drum kit": "maraca set",
    "drumkit": "maraca set",
    "drum-kit": "maraca set",
    "drum set": "maraca set",
    "drumset": "maraca set",
    "drum-set": "maraca set",
    "drumbeat": "maraca beat",
    "drumbeats": "maraca beats",
    "drumloop": "maraca loop",
}

_WORDS: dict[str, dict[str, str]] = {
    "female": _FEMALE,
    "male": _MALE,
    "slow": _SLOW,
    "fast": _FAST,
    "happy": _HAPPY,
    "sad": _SAD,
    "drums": _DRUMS,
    "flute": {
        "flute": "violin",
        "flutes": "violins",
        "flutist": "violinist",
        "flutists": "violinists",
        "flautist": "violinist",
        "flautists": "violinists",
    },
    "guitar": {"guitar": "piano", "guitars": "pianos", "guitarist": "pianist", "guitarists": "pianists"},
    "maracas": {"maracas": "drums", "maraca": "drum"},
    "trumpet": {
        "trumpet": "violin",
        "trumpets": "violins",
        "trumpeter": "violinist",
        "trumpeters": "violinists",
        "trumpetist": "violinist",
    },
    "violin": {
        "violin": "trumpet",
        "violins": "trumpets",
        "violinist": "trumpeter",
        "violinists": "trumpeters",
        "fiddle": "trumpet",
        "fiddles": "trumpets",
        "fiddler": "trumpeter",
        "fiddlers": "trumpeters",
    },
    "jazz": {"jazz": "techno", "jazzy": "techno"},
    "techno": {"techno": "jazz"},
    "reggae": {"reggae": "techno", "jamaican": "American"},
}

_NOT_ENOUGH = {"she", "her", "hers", "herself", "he", "his", "him", "himself", "jamaican"}
"""Words that are swapped but do not make a caption one about the concept."""

_ALONE: dict[str, tuple[str, ...]] = {"piano": ("piano", "pianos", "pianist", "pianists", "keyboard", "keyboards")}
"""Words of counterfactuals that are no concept of section 4.1."""

_COMPOUNDS: dict[str, tuple[str, ...]] = {
    "female": ("soprano", "mezzo-soprano", "mezzo", "alto", "contralto"),
    "male": ("tenor", "baritone", "countertenor"),
    "slow": ("speed", "slow motion"),
    "fast": ("fast food", "fast forward", "fast-forward", "speed"),
    "happy": ("happy birthday", "happy-go-lucky", "merry christmas", "feel-good"),
    "sad": ("melancholy", "mourning", "bittersweet"),
    "drums": (
        *("snare", "snares", "kick", "kicks", "hi-hat", "hi-hats", "hihat", "hihats", "hi hat", "hi hats"),
        *("cymbal", "cymbals", "tom", "toms", "bass drum", "bass drums", "bass-drums", "kickdrum", "steel drum"),
        *("steel drums", "steel-drums", "steeldrum", "steeldrums", "drum machine", "drum machines", "drum roll"),
        *("drum rolls", "drum-roll", "drum-rolls", "drumroll", "drum and bass", "drum & bass", "drum n bass"),
        *("drum'n'bass", "drumstick", "drumsticks", "drumline", "drumstep", "drumhit", "drumpart", "drumtrack"),
    ),
    "flute": ("pan flute", "pan flutes", "panflute", "flutelike", "flutesound"),
    "guitar": (
        *("bass guitar", "bass guitars", "slide guitar", "slide guitars", "steel guitar", "pedal steel", "lap steel"),
        *("strum", "strums", "strummed", "strumming", "guitar hero", "air guitar", "slide-e-guitar"),
    ),
    "trumpet": ("trumpeting", "trumpety"),
    "jazz": ("jazzlike", "jazzbar", "acid jazz"),
    "techno": ("technopop", "technoclub", "technomusic"),
    "reggae": ("reggaeton", "jamaica"),
}


def _against(name: str) -> tuple[str, ...]:
    """All words of a counterfactual."""
    return _ALONE[name] if name in _ALONE else tuple(_WORDS[name])


_QUERIES: dict[str, dict[str, str]] = {
    "female": {"clap": "A female vocal singing", "muq": "female singer"},
    "male": {"clap": "A male vocal singing", "muq": "male singer"},
    "slow": {"clap": "slow song", "muq": "slow"},
    "fast": {"clap": "fast song", "muq": "fast"},
    "happy": {"clap": "cheerful song", "muq": "cheerful"},
    "sad": {"clap": "sad song", "muq": "sad"},
    "drums": {"clap": "Drums music", "muq": "drums-based"},
    "flute": {"clap": "Flute music", "muq": "flute-based"},
    "guitar": {"clap": "Guitar music", "muq": "guitar-based"},
    "maracas": {"clap": "Maracas music", "muq": "maracas-based"},
    "trumpet": {"clap": "Trumpet music", "muq": "trumpet-based"},
    "violin": {"clap": "Violin music", "muq": "violin-based"},
    "jazz": {"clap": "a jazz song", "muq": "jazz"},
    "techno": {"clap": "a techno song", "muq": "techno"},
    "reggae": {"clap": "a reggae song", "muq": "reggae"},
}
