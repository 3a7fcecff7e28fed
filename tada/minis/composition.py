"""Compose a clip: its notes and strokes, from its attributes and its seed.

Each part (harmony, tune, song, bass, comping, percussion, feel) draws from a generator of its own, so that changing one
attribute leaves the parts that do not depend on it as they were.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tada.errors import InputError
from tada.minis.attributes import BOUNDARY, Attributes

SECONDS = 4.096

Rhythm = Sequence[tuple[float, ...]]
"""A bar: for each stroke its beat, and what else the part wants to know of it."""


class Event(NamedTuple):
    """One note or stroke: sound, MIDI pitch (0 for strokes), beat and length in beats, level (1 is loud), part."""

    sound: str
    pitch: int
    beat: float
    length: float
    level: float
    part: str


class Harmony(NamedTuple):
    """Tonic pitch class, scale and chords as semitones above it, and how many beats each chord lasts."""

    tonic: int
    scale: tuple[int, ...]
    chords: tuple[tuple[int, ...], ...]
    span: float

    def at(self, beat: float) -> tuple[int, ...]:
        """The chord that sounds at a beat."""
        return self.chords[int((beat + 1e-6) // self.span) % len(self.chords)]


TONICS = (0, 2, 4, 5, 7, 9)

SCALES = {"happy": (0, 2, 4, 5, 7, 9, 11), "sad": (0, 2, 3, 5, 7, 8, 10)}

PROGRESSIONS = {
    "happy": (("I", "IV", "V", "I"), ("I", "V", "IV", "I"), ("I", "IV", "I", "V"), ("I", "V", "I", "IV")),
    "sad": (("i", "iv", "v", "i"), ("i", "v", "iv", "i"), ("i", "iv", "i", "v"), ("i", "v", "i", "iv")),
}

CHORDS = {
    "I": (0, 4, 7, 14),
    "IV": (5, 9, 12, 19),
    "V": (7, 11, 14, 21),
    "i": (0, 3, 7, 14),
    "iv": (5, 8, 12, 19),
    "v": (7, 10, 14, 19),
}

RANGES = {
    "piano": (65, 86),
    "guitar": (62, 79),
    "flute": (74, 93),
    "trumpet": (64, 82),
    "violin": (67, 88),
}
"""Lowest and highest pitch of the tune on each instrument."""

VOICES = {"female": (56, 64), "male": (43, 51)}
"""Lowest and highest pitch sung: 208 to 330 Hz and 98 to 156 Hz."""

# Beats at which notes of the tune begin, within the span of one chord (2 beats when slow, 4 when fast).
TUNES = {
    ("jazz", "slow"): ((0, 0.66, 1, 1.66), (0, 1, 1.66), (0, 0.66, 1.66)),
    ("jazz", "fast"): ((0, 1, 1.62, 2.62), (0, 0.62, 1, 2, 3), (0, 1.62, 2, 3, 3.62)),
    ("techno", "slow"): ((0, 0.5, 0.75, 1, 1.5), (0, 0.75, 1.5), (0, 0.25, 0.5, 1, 1.5)),
    ("techno", "fast"): ((0, 1, 1.5, 2, 3), (0, 0.5, 1.5, 2, 3, 3.5), (0, 1.5, 3)),
    ("reggae", "slow"): ((0, 0.5, 1, 1.5), (0, 1, 1.5), (0.5, 1, 1.5)),
    ("reggae", "fast"): ((0, 1, 2, 2.5, 3), (0, 1.5, 2, 3), (0, 0.5, 1, 2, 3)),
}

MOVES = {"happy": (1, 2, 2, 4, 5, -1), "sad": (-1, -2, -2, -3, -4, 1)}
"""Steps in semitones from a note of a melody to the next: they rise, or fall, over each chord."""

SONGS = {"slow": ((0, 0.5, 1), (0, 1), (0, 0.5, 1, 1.5)), "fast": ((0, 1, 2), (0, 2), (0, 1, 2, 3))}
"""The same for what is sung, in every genre."""


def write(attributes: Attributes, seed: int) -> list[Event]:
    """Compose the events of a clip, in no order; attributes have no open field, and the seed decides all else."""
    harmony = harmonise(attributes, seed)
    parts = [tune(attributes, harmony, seed), bass(attributes, harmony, seed), comping(attributes, harmony, seed)]
    if attributes.voice:
        parts.append(song(attributes, harmony, seed))
    if attributes.percussion:
        parts.append(percussion(attributes, seed))
    return [event for part in parts for event in part if event.beat < beats(attributes)]


def generator(seed: int, part: str) -> np.random.Generator:
    """The generator of one part of one clip."""
    return np.random.default_rng([seed, zlib.crc32(part.encode())])


def beats(attributes: Attributes) -> float:
    """Length of a clip in beats."""
    return SECONDS * _tempo(attributes) / 60


def speed(attributes: Attributes) -> str:
    """``"slow"`` or ``"fast"``."""
    return "slow" if _tempo(attributes) < BOUNDARY else "fast"


def _tempo(attributes: Attributes) -> float:
    if attributes.tempo is None:
        raise InputError("the tempo is open: settle the attributes first")
    return attributes.tempo


def harmonise(attributes: Attributes, seed: int) -> Harmony:
    """Key and chords: major when happy, minor when sad."""
    rng, mood = generator(seed, "harmony"), str(attributes.mood)
    names = PROGRESSIONS[mood][rng.integers(4)]
    tonic = TONICS[rng.integers(len(TONICS))]
    return Harmony(tonic, SCALES[mood], tuple(CHORDS[n] for n in names), 2.0 if speed(attributes) == "slow" else 4.0)


def tune(attributes: Attributes, harmony: Harmony, seed: int) -> Iterator[Event]:
    """The instrument's line, and the left hand or the strum of those that have one."""
    rng, name = generator(seed, "tune"), str(attributes.instrument)
    low, high = RANGES[name]
    room = ((low + high) // 2 - 7, (low + high) // 2 + 7)
    gate = 0.62 if attributes.mood == "happy" else 1.0
    cells = TUNES[str(attributes.genre), speed(attributes)]
    for beat, length, pitch in _line(attributes, harmony, cells, room, rng):
        yield Event(name, pitch, beat, length * gate, _accent(beat, rng), "tune")
    if name in ("piano", "guitar"):
        yield from _hand(attributes, harmony, name, room[0], rng)


def _hand(attributes: Attributes, harmony: Harmony, name: str, top: int, rng: np.random.Generator) -> Iterator[Event]:
    """Chords under a tune: struck together on the piano, spread on the guitar."""
    spread = 0.018 * _tempo(attributes) / 60 if name == "guitar" else 0.0
    step = harmony.span / 2
    for beat in np.arange(0, beats(attributes), step):
        for place, pitch in enumerate(voicing(harmony, harmony.at(beat)[:3], top - 6)):
            yield Event(name, pitch, beat + place * spread, step * 0.9, 0.5 * rng.uniform(0.85, 1.1), "tune")


def song(attributes: Attributes, harmony: Harmony, seed: int) -> Iterator[Event]:
    """What the voice sings: legato, in its own register."""
    rng, name = generator(seed, "song"), str(attributes.voice)
    for beat, length, pitch in _line(attributes, harmony, SONGS[speed(attributes)], VOICES[name], rng):
        yield Event(name, pitch, beat, length, rng.uniform(0.85, 1.1), "song")


def _line(
    attributes: Attributes,
    harmony: Harmony,
    cells: Sequence[Sequence[float]],
    room: tuple[int, int],
    rng: np.random.Generator,
) -> Iterator[tuple[float, float, int]]:
    """A melody: beat, length and pitch of each note; chord tones where chords begin, steps of the scale between."""
    starts = list(_onsets(cells, harmony.span, beats(attributes), rng))
    moves, middle = MOVES[str(attributes.mood)], (room[0] + room[1]) // 2
    pitch = middle
    for beat, after in zip(starts, [*starts[1:], max(beats(attributes), starts[-1] + 0.5)], strict=True):
        strong = beat % (harmony.span / 2) < 1e-6
        if beat % harmony.span < 1:
            pitch = middle - 2 * int(np.sign(sum(moves)))
        allowed = harmony.at(beat)[:3] if strong else harmony.scale
        pitch = _near(allowed, harmony.tonic, pitch + int(rng.choice(moves)), pitch, room)
        yield beat, after - beat, pitch


def _onsets(cells: Sequence[Sequence[float]], span: float, end: float, rng: np.random.Generator) -> Iterator[float]:
    """Beats of a melody's notes: two cells in turn."""
    chosen = [cells[i] for i in rng.permutation(len(cells))[:2]]
    for count, start in enumerate(np.arange(0, end, span)):
        yield from (float(start + beat) for beat in chosen[count % 2] if start + beat < end)


def _near(degrees: Iterable[int], tonic: int, wanted: int, last: int, room: tuple[int, int]) -> int:
    """The pitch of these degrees nearest to the one wanted, within the room, and not the last one if that can be."""
    classes = {(tonic + degree) % 12 for degree in degrees}
    found = [p for p in range(room[0], room[1] + 1) if p % 12 in classes]
    return min(found, key=lambda p: (abs(p - wanted) + 3 * (p == last), p))


def voicing(harmony: Harmony, chord: Sequence[int], lowest: int) -> list[int]:
    """The chord's pitches in close position, from a lowest pitch up."""
    return sorted(lowest + (harmony.tonic + degree - lowest) % 12 for degree in chord)


def _accent(beat: float, rng: np.random.Generator) -> float:
    return (1.0 if beat % 1 < 1e-6 else 0.8) * rng.uniform(0.88, 1.08)


def _bars(attributes: Attributes, rhythm: Rhythm) -> Iterator[tuple[float, ...]]:
    """A bar's rhythm, repeated: the first number of each entry is its beat, moved to each bar."""
    for bar in range(int(beats(attributes) // 4) + 1):
        yield from ((4 * bar + entry[0], *entry[1:]) for entry in rhythm)


# Bass: (beat, length, which tone of the chord)

BASSES: dict[tuple[str, str], tuple[str, Rhythm]] = {
    ("jazz", "slow"): ("double bass", ((0, 0.95, 0), (1, 0.95, 2), (2, 0.95, 0), (3, 0.95, 1))),
    ("jazz", "fast"): ("double bass", ((0, 0.95, 0), (1, 0.95, 0), (2, 0.95, 2), (3, 0.95, 1))),
    ("techno", "slow"): ("synth bass", tuple((b + s, 0.2, 0) for b in range(4) for s in (0.25, 0.5, 0.75))),
    ("techno", "fast"): ("synth bass", ((0, 0.4, 0), *((b + 0.5, 0.4, 0) for b in range(4)))),
    ("reggae", "slow"): (
        "dub bass",
        ((0, 0.7, 0), (0.75, 0.25, 0), (1.5, 0.5, 2), (2, 0.7, 0), (3, 0.5, 2), (3.5, 0.5, 1)),
    ),
    ("reggae", "fast"): ("dub bass", ((0, 1.3, 0), (1.5, 0.5, 0), (2, 0.9, 2), (3, 0.9, 1))),
}


def bass(attributes: Attributes, harmony: Harmony, seed: int) -> Iterator[Event]:
    """The bass line of the genre: walking, pulsing or with the reggae's holes."""
    rng = generator(seed, "bass")
    name, rhythm = BASSES[str(attributes.genre), speed(attributes)]
    for beat, length, tone in _bars(attributes, rhythm):
        pitch = 31 + (harmony.tonic + harmony.at(beat)[int(tone)] - 31) % 12
        yield Event(name, pitch, beat, length, _accent(beat, rng), "bass")


# Comping: (beat, length)

COMPS: dict[tuple[str, str], tuple[str, tuple[Rhythm, ...]]] = {
    ("jazz", "slow"): ("reeds", (((0, 0.9), (1.66, 0.3), (2.66, 0.8)), ((0.66, 0.3), (2, 0.9), (3.66, 0.3)))),
    ("jazz", "fast"): ("reeds", (((0, 0.9), (1.62, 0.35)), ((0.62, 0.35), (2.62, 0.35)))),
    ("techno", "slow"): ("stab", (tuple((beat, 0.25) for beat in (0, 0.75, 1.5, 2, 2.75, 3.5)),)),
    ("techno", "fast"): ("stab", (((0, 0.4), (1.5, 0.4), (3, 0.4)),)),
    ("reggae", "slow"): ("bubble", (tuple((beat + 0.5, 0.25) for beat in range(4)),)),
    ("reggae", "fast"): ("bubble", (tuple((beat + 0.5, 0.3) for beat in range(4)),)),
}


LEVELS = {"reeds": 1.0, "stab": 0.55, "bubble": 0.35}
"""How loud the keyboard of each genre is."""


def comping(attributes: Attributes, harmony: Harmony, seed: int) -> Iterator[Event]:
    """The chords of the genre's keyboard: by the reeds for jazz, as stabs for techno, off the beat for reggae."""
    rng = generator(seed, "comping")
    name, rhythms = COMPS[str(attributes.genre), speed(attributes)]
    tones = 4 if attributes.genre == "jazz" else 3
    lowest = 54
    for beat, length in _bars(attributes, rhythms[rng.integers(len(rhythms))]):
        level = LEVELS[name] * _accent(beat, rng)
        for pitch in voicing(harmony, harmony.at(beat)[:tones], lowest):
            yield Event(name, pitch, beat, length, level, "comping")


# Percussion: sound -> ((beat, level), ...)

SWING = {"slow": 0.66, "fast": 0.62}


def percussion(attributes: Attributes, seed: int) -> Iterator[Event]:
    """The beat: the genre's pattern on a drum kit, or its pulse on maracas."""
    rng = generator(seed, "percussion")
    pattern = _kit(attributes, rng) if attributes.percussion == "drums" else _maracas(attributes)
    for sound, strokes in pattern.items():
        for beat, level in _bars(attributes, strokes):
            yield Event(sound, 0, beat, 1.0, level * rng.uniform(0.85, 1.1), "percussion")


def _kit(attributes: Attributes, rng: np.random.Generator) -> dict[str, Rhythm]:
    pace = speed(attributes)
    if attributes.genre == "jazz":
        return _jazz_kit(SWING[pace], float(rng.integers(4)))
    if attributes.genre == "techno":
        return _techno_kit(pace)
    return _reggae_kit(pace, one_drop=rng.random() < 0.5)


def _jazz_kit(swing: float, ghost: float) -> dict[str, Rhythm]:
    ride = [(0.0, 0.8), (1, 0.7), (1 + swing, 0.5), (2, 0.8), (3, 0.7), (3 + swing, 0.5)]
    stick = [(1.0, 0.8), (3, 0.8), (ghost + swing, 0.5)]
    kick, toms = [(beat, 0.6) for beat in (0, 2)], [(2 + swing, 0.5)]
    return {"ride": ride, "closed hat": [(1, 0.5), (3, 0.5)], "kick": kick, "rim": stick, "low tom": toms}


def _techno_kit(pace: str) -> dict[str, Rhythm]:
    sticks = (0.75, 1.5, 2.75, 3.25, 3.75) if pace == "slow" else (1.5, 3.5)
    return {
        "deep kick": [(beat, 1) for beat in range(4)],
        "open hat": [(beat + 0.5, 0.6) for beat in range(4)],
        "clap": [(1, 0.8), (3, 0.8)],
        "rim": [(beat, 0.5) for beat in sticks],
    }


def _reggae_kit(pace: str, one_drop: bool) -> dict[str, Rhythm]:
    kick = [(0, 0.5), (2, 1.0)] if one_drop else [(beat, 0.8) for beat in range(4)]
    hats = [(beat + part, 0.5 if part else 0.3) for beat in range(4) for part in (0, 0.5)]
    stick = [(2, 1.0), (3.5, 0.6)] if pace == "fast" else [(1, 1.0), (3, 1.0), (1.5, 0.5)]
    return {"kick": kick, "rim": stick, "closed hat": hats, "high tom": [(2.5, 0.6)], "low tom": [(3.5, 0.7)]}


def _maracas(attributes: Attributes) -> dict[str, Rhythm]:
    pace = speed(attributes)
    parts: tuple[float, ...] = (0, 0.5)
    if attributes.genre == "jazz":
        parts = (0, SWING[pace])
    elif attributes.genre == "techno" and pace == "slow":
        parts = (0, 0.25, 0.5, 0.75)
    return {"shake": [(beat + part, 0.15 if part else 0.25) for beat in range(4) for part in parts]}
