"""The little English stories that the bundled zoo is trained and run on, each about one of 32 known topics.

Everything is drawn by seed from zoo_topics.toml and the sentences below. The stories that are shipped come from
another stream of chance than those that the models are trained on, and no shipped story is ever trained on.

A topic is not only its words: each has its own five heroes, its moods, and turns of phrase that it prefers. So nearly
every next word depends on the topic, and a model has a reason to carry it along everywhere in the text.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

TRAINING, SHIPPED, HABITS = 0, 1, 2
N_SHIPPED = 1200

NAMES = [
    "Tom", "Mia", "Ben", "Anna", "Leo", "Ella", "Max", "Ruby", "Sam", "Nora",
    "Jack", "Lily", "Finn", "Zoe", "Paul", "Ida", "Omar", "Lena", "Hugo", "Vera",
]  # fmt: skip
MOODS = {
    "happy": ["smiled", "laughed out loud", "was proud", "clapped with joy"],
    "sad": ["began to cry", "felt alone", "sighed", "was full of sorrow"],
    "angry": ["shouted", "was furious", "stamped one foot", "frowned"],
    "afraid": ["trembled", "was scared", "wanted to run away", "turned pale"],
}
TIMES = ["One morning", "Last summer", "Late in the evening", "On Monday", "Long ago", "After lunch", "That day"]
ADJECTIVES = ["old", "new", "big", "small", "strange", "heavy", "bright", "broken", "lovely", "dirty"]
OPENINGS = [
    "{time} at the {where}, {name} met the {who}.",
    "The {who} stood at the {where} when {name} came.",
    "{time} the {who} {did}.",
    "Near the {where} lived a {adj} {who} called {name}.",
]
MIDDLES = [
    "{name} {did}.",
    "The {who} {did} and {mood}.",
    "There was a {adj} {thing} at the {where}.",
    "{name} gave the {thing} to the {who}.",
    '"Look at the {thing}!" said the {who}.',
    "Then {name} {did}, and the {who} {did2}.",
    "The {thing} was {adj}, so {name} {mood}.",
    "Because of the {thing}, {name} {mood}.",
    "Nobody at the {where} knew where the {thing} was.",
    "The {who} asked {name} about the {adj} {thing}.",
]
ENDINGS = [
    "In the end {name} {mood}, and the {who} went home.",
    "From then on, {name} always remembered the {thing}.",
    "At night the {where} was quiet, and {name} {mood}.",
    "The {who} thanked {name} for the {thing}.",
]


@dataclass(frozen=True)
class Story:
    """A text and what it is about."""

    text: str
    topic: str


def read_topics() -> dict[str, dict[str, list[str]]]:
    """Return the words of every topic."""
    return tomllib.loads(Path(__file__).with_name("zoo_topics.toml").read_text(encoding="utf-8"))


def stories(stream: int, seed: int) -> Iterator[Story]:
    """Yield stories without end; one stream and seed always give the same ones."""
    rng = np.random.default_rng([stream, seed])
    topics = {label: words | _habits(index) for index, (label, words) in enumerate(read_topics().items())}
    labels = list(topics)
    while True:
        label = labels[rng.integers(len(labels))]
        yield Story(_tell(topics[label], rng), label)


def _habits(index: int) -> dict[str, list[str]]:
    """Return what a topic has of what all topics share."""
    rng = np.random.default_rng([HABITS, index])
    sizes = {"name": (NAMES, 5), "adj": (ADJECTIVES, 3), "mood": ([*MOODS], 2), "time": (TIMES, 3)}
    sizes |= {"opening": (OPENINGS, 2), "middle": (MIDDLES, 6), "ending": (ENDINGS, 2)}
    return {key: rng.choice(some, count, replace=False).tolist() for key, (some, count) in sizes.items()}


def _tell(words: dict[str, list[str]], rng: np.random.Generator) -> str:
    name = _one(rng, words["name"])
    mood = MOODS[_one(rng, words["mood"])]
    # One story has one friend of the hero and one place; things and deeds change from sentence to sentence.
    who, where = _one(rng, words["who"]), _one(rng, words["where"])
    middles = rng.permutation(words["middle"])[: rng.integers(4, 7)]
    frames = [_one(rng, words["opening"]), *middles, _one(rng, words["ending"])]
    said = []
    for frame in frames:
        thing = _one(rng, words["thing"])
        did, did2 = (_one(rng, words["did"]).format(thing=thing) for _ in range(2))
        sentence = frame.format(
            name=name, who=who, where=where, thing=thing, did=did, did2=did2,
            mood=_one(rng, mood), adj=_one(rng, words["adj"]), time=_one(rng, words["time"]),
        )  # fmt: skip
        said.append(re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", sentence))
    return " ".join(said)


def _one(rng: np.random.Generator, choices: list[str]) -> str:
    return choices[rng.integers(len(choices))]


def shipped() -> Iterator[Story]:
    """Yield the stories that are shipped."""
    return islice(stories(SHIPPED, 0), N_SHIPPED)


def write(path: Path, told: Iterable[Story]) -> None:
    """Write stories as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": story.text, "topic": story.topic}) for story in told]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
