"""A reader as a verbalizer: vectors are scaled and injected into the prompt, and the answers are parsed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, ShapeError
from bridge.models.tokenizer import ends_of
from bridge.readers.answer import parse, together
from bridge.readers.bodies import Bodies
from bridge.readers.decoding import Speaker, likeliest, sampler
from bridge.readers.injection import lengthened, whitened
from bridge.readers.matrices import Loaded, mapped, read_affine
from bridge.readers.probe import PROBED, chosen_by_probe, told_apart, unlike_vectors
from bridge.readers.prompt import Placed, check_question, placed
from bridge.readers.reader import Injection, Reader, Sampling
from bridge.readers.reconstructor import Reconstructor
from bridge.verbalizers import Blends, Explanation, Verbalizer, check_vectors

Floats = NDArray[np.float32]
SPEAKERS = 8
"""Number of prompts whose keys and values are kept in memory; the least recently used are removed."""


@final
@dataclass(frozen=True)
class Asked:
    """Options for the use of a reader.

    Attributes:
        sampling: Options for writing answers.
        question: The question about every vector, if the prompt takes one.
        layer: The block whose output the vectors are; None for other sites.
        batch: Number of sequences per batch.
        seed: Seed of the sampling.
        identity: Everything besides the vectors that explanations depend on.
    """

    sampling: Sampling
    question: str
    layer: int | None
    batch: int
    seed: int
    identity: str


@final
class ReaderVerbalizer(Verbalizer):
    """A reader and its reconstructor; their weights are loaded at the first use, which cached explanations do not need.

    Args:
        reader: The description of the reader.
        bodies: Loads its models.
        asked: Options.

    Raises:
        BridgeError: If tokenizer and prompt do not match.
    """

    def __init__(self, reader: Reader, bodies: Bodies, asked: Asked) -> None:
        self.d_model, self.identity = reader.d_model, asked.identity
        self._reader, self._bodies, self._asked = reader, bodies, asked
        self.reconstructs = reader.reconstruction is not None
        self.at_once = max(1, asked.batch // asked.sampling.samples)
        self._tokenizer = bodies.tokenizer(reader.weights)
        self._speakers: dict[Placed, Speaker] = {}
        self._notes = list(reader.notes)
        # Small files suffice to check that prompt and tokenizer match, before any weights are loaded.
        self._placed(1, asked.question or ("?" if reader.prompt.asks else ""))

    def explain(self, vectors: Floats) -> list[Explanation]:
        """Explain vectors of shape (n, d_model), float32, scaled to the length that the reader was trained with.

        Raises:
            UsageError: If the reader needs a question and has none.
        """
        check_question(self._reader.prompt, self._asked.question)
        check_vectors(vectors, self.d_model)
        none = np.zeros((0, 1, self.d_model), np.float32)
        return self._explain(vectors[:, None, None], none, 0.0, self._asked.question)

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Explain directions by mean log-probabilities over their blends, minus beta times those of the backgrounds."""
        check_question(self._reader.prompt, self._asked.question)
        vectors, alone = blends.vectors, blends.backgrounds
        check_vectors(alone, self.d_model)
        if vectors.ndim != 3 or vectors.shape[1] != len(alone) or not len(alone):
            raise ShapeError(f"Blends of shape {vectors.shape} do not match backgrounds of shape {alone.shape}.")
        check_vectors(vectors.reshape(-1, vectors.shape[-1]), self.d_model)
        return self._explain(vectors[:, :, None], alone[:, None], blends.beta, self._asked.question)

    def ask(self, groups: Sequence[Floats], question: str) -> list[Explanation]:
        """Answer a question about groups of vectors, (n_i, d_model) float32 each, with one prompt per group."""
        check_question(self._reader.prompt, question)
        for group in groups:
            check_vectors(group, self.d_model)
            if not len(group):
                raise ShapeError("A group of vectors is empty; a question needs at least one vector.")
        answers: dict[int, Explanation] = {}
        # Prompts of equal length are run together, without padding.
        for size in sorted({len(group) for group in groups}):
            chosen = [at for at, group in enumerate(groups) if len(group) == size]
            vectors = np.stack([groups[at] for at in chosen])[:, None]
            none = np.zeros((0, size, self.d_model), np.float32)
            answers |= dict(zip(chosen, self._explain(vectors, none, 0.0, question), strict=True))
        return [answers[at] for at in range(len(groups))]

    def reconstruct(self, texts: Sequence[str]) -> Floats:
        """Return the activations that the reconstructor computes from texts, (n, d_model) float32."""
        return self._reconstructor.reconstruct(texts)

    def notes(self) -> list[str]:
        """Return the notes about the reader's files, and the injection that a probe chose."""
        return list(self._notes)

    @cached_property
    def _layers(self) -> list[Loaded]:
        return [read_affine(one) for one in self._reader.vector_map.layers] if self._reader.vector_map else []

    @cached_property
    def _reconstructor(self) -> Reconstructor:
        if self._reader.reconstruction is None:
            raise BridgeError(
                "This verbalizer has no activation reconstructor.",
                remedy="Name one with the option ar, or train it with `bridge verbalizer train --reconstructor`.",
            )
        return Reconstructor(self._reader.reconstruction, self._bodies, self._asked.batch)

    def _explain(self, vectors: Floats, alone: Floats, beta: float, question: str) -> list[Explanation]:
        """Explain vectors, (n, backgrounds, m, d_model), with backgrounds alone, (backgrounds, m, d_model)."""
        if not len(vectors):
            return []
        speaker = self._speaker(vectors.shape[2], question)
        sampling, samples = self._asked.sampling, self._asked.sampling.samples
        vectors, alone = self._prepared(vectors).repeat(samples, 0), self._prepared(alone)
        seeds = [self._seed_of(row % samples, blend, question) for row, blend in enumerate(vectors)]
        at_once = max(1, self._asked.batch // (vectors.shape[1] * (2 if beta else 1)))
        said: list[Explanation] = []
        for start in range(0, len(seeds), at_once):
            part = slice(start, start + at_once)
            choose = sampler(sampling.temperature, seeds[part]) if sampling.temperature else likeliest
            spoken = speaker.say(Blends(vectors[part], alone, beta), sampling.max_new_tokens, choose)
            said += [self._parsed(ids, sampling.max_new_tokens) for ids in spoken]
        return [together(said[start : start + samples]) for start in range(0, len(said), samples)]

    @cached_property
    def _injection(self) -> Injection:
        """The injection: from the files, or chosen by a probe, which loads the weights."""
        reader = self._reader
        if not reader.alternatives:
            return reader.injection
        prompt = self._placed(1, self._asked.question)
        module = self._bodies.module(reader.weights)
        self._check_module(module, prompt)
        unlike = unlike_vectors(self.d_model)[:, None, None]
        none = np.zeros((0, 1, self.d_model), np.float32)

        def answers(injection: Injection) -> list[Explanation]:
            """Return the answers about two orthogonal vectors with this injection."""
            speaker = Speaker(module, prompt, injection, ends_of(module, self._tokenizer))
            blends = Blends(self._lengthened(unlike, injection), none)
            return [self._parsed(ids, PROBED) for ids in speaker.say(blends, PROBED, likeliest)]

        found = told_apart((reader.injection, *reader.alternatives), answers)
        self._notes.append(chosen_by_probe(found))
        return found

    def _parsed(self, ids: list[int], allowed: int) -> Explanation:
        """Parse an answer, without the token that ended it."""
        prompt, answer, ended = self._reader.prompt, self._reader.answer, len(ids) < allowed
        if not answer.special_tokens:
            # The parser needs tags and placeholder, which may be special tokens.
            ids = self._tokenizer.without_special(ids, (*answer.tags, prompt.placeholder))
        text = self._tokenizer.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return parse(prompt.answer_prefix + text, prompt.placeholder, answer, ended)

    def _prepared(self, vectors: Floats) -> Floats:
        return self._lengthened(vectors, self._injection)

    def _lengthened(self, vectors: Floats, injection: Injection) -> Floats:
        found = whitened(vectors, injection)
        if self._reader.vector_map:
            found = mapped(found, self._layers, self._reader.vector_map)
        return lengthened(found, injection)

    def _placed(self, vectors: int, question: str) -> Placed:
        tokens = self._reader.vector_map.tokens if self._reader.vector_map else 1
        return placed(self._tokenizer.tokenizer, self._reader.prompt, vectors, question, self._asked.layer, tokens)

    def _speaker(self, vectors: int, question: str) -> Speaker:
        prompt = self._placed(vectors, question)
        # Called each time, to activate the adapter of the reader: the reconstructor may have activated its own.
        module = self._bodies.module(self._reader.weights)
        found = self._speakers.pop(prompt, None)
        if found is None:
            self._check_module(module, prompt)
            found = Speaker(module, prompt, self._injection, ends_of(module, self._tokenizer))
        self._speakers[prompt] = found
        while len(self._speakers) > SPEAKERS:
            del self._speakers[next(iter(self._speakers))]
        return found

    def _check_module(self, module: Any, prompt: Placed) -> None:
        vocabulary, width = module.get_input_embeddings().weight.shape
        wanted = width if self._reader.vector_map else self.d_model
        if width != wanted or max(prompt.ids) >= vocabulary:
            raise BridgeError(
                f"{self._bodies.folder(self._reader.weights)} embeds {vocabulary} tokens in {width} dimensions; the "
                f"sidecar says {self.d_model} dimensions, and the prompt has token {max(prompt.ids)}.",
                cause="The folder has files of several checkpoints, or the base model is another one.",
                remedy="Fetch the whole checkpoint again.",
            )

    def _seed_of(self, sample: int, blend: Floats, question: str) -> int:
        # By content: the text of a vector depends neither on the order nor on the other vectors.
        digest = hashlib.sha256(f"{self._asked.seed} {sample} {question}".encode() + blend.tobytes()).digest()
        return int.from_bytes(digest[:7], "big")
