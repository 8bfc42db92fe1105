"""The judge of explanations: a sentence encoder, or latent semantic analysis of the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, ModelError, ModelUnavailableError
from bridge.files import expand_user
from bridge.geometry import unit_rows
from bridge.hub_errors import refusal_of
from bridge.models.transformers_adapter import quiet
from bridge.models.weights import models_folder
from bridge.pipeline.score.judge_lsa import latent_semantics
from bridge.scorers import Judge

ENCODER = "all-MiniLM-L6-v2"
LSA = "lsa"
BATCH = 64


def load_judge(name: str, documents: Iterable[str] = (), seed: int = 0) -> Judge:
    """Load a sentence encoder onto the CPU; it is small, and the accelerator is used by the language models.

    The judge embeds n texts as (n, k) float32 of unit norm. It embeds every line of a text alone and takes the mean:
    each line is one sample of a verbalizer, and all samples together may be longer than an encoder supports.
    all-MiniLM-L6-v2 cuts a line after 256 tokens.

    Args:
        name: Hub id or folder of a sentence-transformers model, or its name in the models folder; empty for
            all-MiniLM-L6-v2, from the models folder if it is there, else from the hub. `lsa` is fitted on the
            documents.
        documents: Texts of the training documents.
        seed: Seed of `lsa`.

    Raises:
        ModelUnavailableError: If the encoder is not on this machine and cannot be downloaded.
        ModelError: If its folder cannot be loaded.
    """
    if name == LSA:
        return latent_semantics(documents, seed)
    places = [expand_user(name), models_folder() / name] if name else [models_folder() / ENCODER]
    folder = next((place for place in places if place.is_dir()), None)
    encoder = _load(str(folder) if folder else name or f"sentence-transformers/{ENCODER}", folder)

    def judge(texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts line by line: (n, d) float32 of unit norm, the direction of the mean of a text's lines."""
        lines = [[line for line in text.splitlines() if line.strip()] or [""] for text in texts]
        embedded: NDArray[np.float32] = encoder.encode(
            list(chain.from_iterable(lines)),
            batch_size=BATCH,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        first = np.cumsum([0, *map(len, lines)])[:-1]
        return unit_rows(np.add.reduceat(embedded.astype(np.float32), first)).astype(np.float32)

    return judge


def _load(source: str, folder: Path | None) -> Any:
    from sentence_transformers import SentenceTransformer

    with quiet():
        try:
            # use_safetensors prevents unpickling of weights.
            return SentenceTransformer(
                source,
                device="cpu",
                trust_remote_code=False,
                local_files_only=folder is not None,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # OSError, ValueError, KeyError, SafetensorError, ...: the encoder cannot be loaded
            raise _unavailable(source, folder, error) from error


def _unavailable(source: str, folder: Path | None, error: Exception) -> BridgeError:
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    remedy = (
        f"`python tools/fetch_models.py {ENCODER}` puts it into {models_folder()}; or give a folder or hub id of a "
        "sentence-transformers model with --encoder."
    )
    if folder:
        return ModelError(
            f"The sentence encoder {folder} cannot be loaded ({reason}).",
            cause="One of its files is missing or damaged, or its weights are not safetensors.",
            remedy=remedy,
        )
    if (refused := refusal_of(source, "", error)) and refused.remedy:
        what = f"The sentence encoder {source} cannot be had. {refused.what}"
        return ModelUnavailableError(what, cause=refused.cause, remedy=f"{refused.remedy} Or: {remedy}")
    return ModelUnavailableError(
        f"The sentence encoder {source} is not available ({reason}).",
        cause="It is not on this machine, and the hub cannot be reached or has no model of this name.",
        remedy=remedy,
    )
