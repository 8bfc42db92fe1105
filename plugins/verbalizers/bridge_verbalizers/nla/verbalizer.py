"""The verbalizer of the `nla` plugin: vectors are scaled and injected, and what the AV writes is parsed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, ShapeError
from bridge.verbalizers import Blends, Explanation, Verbalizer, check_vectors
from bridge_verbalizers.nla.decoding import Speaker, likeliest, sampler
from bridge_verbalizers.nla.explanation import parse, together
from bridge_verbalizers.nla.prompt import scaled
from bridge_verbalizers.nla.reconstructor import Reconstructor
from bridge_verbalizers.nla.sidecar import Sidecar

Floats = NDArray[np.float32]


@final
class NLAVerbalizer(Verbalizer):
    """An AV and an AR, each loaded when it is first asked: what is kept of them needs no weights.

    Args:
        speaker: Loads the AV.
        tokenizer: Its tokenizer, of transformers.
        sidecar: What it says of itself.
        reconstructor: Loads the AR, or None where there is none.
        max_new_tokens: How many tokens it may write of a vector.
        temperature: Of sampling; 0 always takes the likeliest token.
        samples: How many texts are drawn of a vector; its explanation is all of them.
        batch: How many sequences are run at once.
        seed: Of sampling.
        identity: All that its explanations depend on.
    """

    def __init__(
        self,
        speaker: Callable[[], Speaker],
        tokenizer: Any,
        sidecar: Sidecar,
        reconstructor: Callable[[], Reconstructor] | None,
        *,
        max_new_tokens: int,
        temperature: float,
        samples: int,
        batch: int,
        seed: int,
        identity: str,
    ) -> None:
        self.d_model, self.identity = sidecar.d_model, identity
        self._load_speaker, self._tokenizer, self._sidecar = speaker, tokenizer, sidecar
        self.reconstructs, self._load_reconstructor = reconstructor is not None, reconstructor
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        self._samples, self._batch, self._seed = samples, batch, seed
        self.at_once = max(1, batch // samples)

    def explain(self, vectors: Floats) -> list[Explanation]:
        """Explain vectors of shape (n, d_model), float32, each at the length that the AV was trained with."""
        check_vectors(vectors, self.d_model)
        none = np.zeros((0, self.d_model), np.float32)
        return self._explain(Blends(scaled(vectors, self._sidecar.injection_scale)[:, None], none))

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Decode from all blends of a direction together, minus beta times what the backgrounds alone say."""
        vectors, alone = blends.vectors, blends.backgrounds
        check_vectors(alone, self.d_model)
        if vectors.ndim != 3 or vectors.shape[1] != len(alone) or not len(alone):
            raise ShapeError(f"Blends of shape {vectors.shape} do not go with backgrounds of shape {alone.shape}.")
        check_vectors(vectors.reshape(-1, vectors.shape[-1]), self.d_model)
        scale = self._sidecar.injection_scale
        return self._explain(Blends(scaled(vectors, scale), scaled(alone, scale), blends.beta))

    def reconstruct(self, texts: Sequence[str]) -> Floats:
        """Return what the AR makes of texts, (n, d_model) float32."""
        return self._reconstructor.reconstruct(texts)

    @cached_property
    def _speaker(self) -> Speaker:
        return self._load_speaker()

    @cached_property
    def _reconstructor(self) -> Reconstructor:
        if self._load_reconstructor is None:
            raise BridgeError(
                "This verbalizer has no activation reconstructor.",
                remedy="Give one by the option ar, or train it with `bridge verbalizer train --reconstructor`.",
            )
        return self._load_reconstructor()

    def _explain(self, blends: Blends) -> list[Explanation]:
        vectors = blends.vectors.repeat(self._samples, 0)
        seeds = [self._seed_of(row % self._samples, blend) for row, blend in enumerate(vectors)]
        streams = vectors.shape[1] * (2 if blends.beta else 1)
        at_once = max(1, self._batch // streams)
        explanations: list[Explanation] = []
        for start in range(0, len(seeds), at_once):
            part = slice(start, start + at_once)
            choose = sampler(self._temperature, seeds[part]) if self._temperature else likeliest
            spoken = self._speaker.say(
                Blends(vectors[part], blends.backgrounds, blends.beta), self._max_new_tokens, choose
            )
            texts = [self._tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in spoken]
            explanations += [parse(text, self._sidecar.tokens.injection_char) for text in texts]
        return [
            together(explanations[start : start + self._samples])
            for start in range(0, len(explanations), self._samples)
        ]

    def _seed_of(self, sample: int, blend: Floats) -> int:
        # By content, so that the text of a vector is the same in any order and in any company.
        digest = hashlib.sha256(f"{self._seed} {sample} ".encode() + blend.tobytes()).digest()
        return int.from_bytes(digest[:7], "big")
