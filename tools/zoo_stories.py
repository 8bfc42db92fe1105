"""The little English stories that the bundled zoo is trained and run on, each about one of 32 known topics.

Everything is drawn by seed from zoo_topics.toml and the sentences below. The stories that are shipped come from
another stream of chance than those that the models are trained on, and no shipped story is ever trained on.

A topic is not only its words: each has its own heroes, moods and turns of phrase. So nearly every next word depends on
the topic, and a model has a reason to carry it along everywhere in the text.
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
    "Tom", "Mia", "Ben", "Anna", "Leo", "Ella", "Max", "Ruby", "Sam", "Nora", "Jack", "Lily", "Finn", "Zoe", "Paul",
    "Ida", "Omar", "Lena", "Hugo", "Vera", "Karl", "Rosa", "Emil", "Tara", "Otto", "Jana", "Nils", "Olga", "Igor",
    "Mona", "Ravi", "Ines", "Theo", "Kira", "Luca", "Dora", "Axel", "Lucy", "Yuri", "Edna",
]  # fmt: skip
MOODS = [
    "smiled", "laughed out loud", "was proud", "clapped with joy", "sang for joy", "grinned",
    "began to cry", "felt alone", "sighed", "was full of sorrow", "wept", "lost all hope",
    "shouted", "was furious", "stamped one foot", "frowned", "cursed", "turned red",
    "trembled", "was scared", "wanted to run away", "turned pale", "screamed", "froze",
]  # fmt: skip
TIMES = [
    "One morning", "Last summer", "Late in the evening", "On Monday", "Long ago", "After lunch", "That day", "At noon",
    "In spring", "Before dawn", "Last year", "On Sunday", "At midnight", "Years ago", "This week", "Before dinner",
]  # fmt: skip
ADJECTIVES = [
    "old", "new", "big", "small", "strange", "heavy", "bright", "broken", "lovely", "dirty", "golden", "tiny",
    "noisy", "rusty", "soft", "round", "empty", "famous", "cheap", "wet", "warm", "sharp", "wooden", "silver",
    "thick", "plain", "secret", "green", "lucky", "dusty",
]  # fmt: skip
OPENINGS = [
    "{time} at the {where}, {name} met the {who}.",
    "The {who} stood at the {where} when {name} came.",
    "{time} the {who} {did}.",
    "Near the {where} lived a {adj} {who} called {name}.",
    "{name} had always loved the {where}.",
    "Everyone at the {where} knew {name}, the {adj} {who}.",
    "{time} a {adj} {thing} was found near the {where}.",
    "Have you heard of {name} and the {adj} {thing}?",
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
    "Soon the {who} {mood}, for {name} {did}.",
    "But {name} only {did}.",
    "Without a word, the {who} {did}.",
    "Where had the {adj} {thing} gone?",
    "While the {who} {did}, {name} {mood}.",
    "Everybody in the {where} {mood}.",
    '"My {thing} is {adj}," {name} said.',
    "Once more {name} {did}.",
    "Every {who} in the {where} {mood} about the {thing}.",
    "Another {adj} {who} {did} with {name}.",
    "Later, {name} hid the {thing} behind the {where}.",
    "If only the {thing} were not so {adj}!",
    "Two times the {who} {did}.",
    "Suddenly a {adj} {thing} fell, and {name} {mood}.",
]
ENDINGS = [
    "In the end {name} {mood}, and the {who} went home.",
    "From then on, {name} always remembered the {thing}.",
    "At night the {where} was quiet, and {name} {mood}.",
    "The {who} thanked {name} for the {thing}.",
    "So ends the story of the {adj} {thing}.",
    "Never again did {name} leave the {where}.",
    "Who would have thought that the {who} {did}?",
    "Finally, {name} and the {who} shared the {thing}.",
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
    sizes = {"name": (NAMES, 5), "adj": (ADJECTIVES, 4), "mood": (MOODS, 5), "time": (TIMES, 2)}
    sizes |= {"opening": (OPENINGS, 2), "middle": (MIDDLES, 6), "ending": (ENDINGS, 2)}
    return {key: rng.choice(some, count, replace=False).tolist() for key, (some, count) in sizes.items()}


def _tell(words: dict[str, list[str]], rng: np.random.Generator) -> str:
    name = _one(rng, words["name"])
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
            mood=_one(rng, words["mood"]), adj=_one(rng, words["adj"]), time=_one(rng, words["time"]),
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
