"""The keywords of `bridge.fit`, `run`, `sweep`, `audit`, ...: made by tools/build_reference.py from options."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict


class Keywords(TypedDict, total=False):
    """Options of a run, by name; what is left out has its default.

    Keys:
        map: Map type, as procrustes:scaled=false.
        corpus: Text: a file or folder, - for stdin, hub:user/dataset, or a name (default: the models' own, or english).
        corpus_sha256: If set, refuse a corpus whose content differs.
        src_identity: If set, refuse source weights whose content differs.
        dst_identity: If set, refuse destination weights whose content differs.
        max_documents: Number of documents used, from the first on.
        max_tokens: Number of tokens after which texts are cut.
        skip: Number of tokens left out at the start of each text (attention sinks).
        outlier_factor: Leave out rows with a norm above this many times the median.
        split: Choice of the held-out documents.
        held_out: Share of documents held out for the scores.
        folds: Training folds for cross-validation.
        seed: Random seed.
        device: cpu, cuda, cuda:N, mps, or auto.
        dtype: bfloat16, float32, or auto: the faster dtype.
        dictionary: Explain features of this dictionary of the source; `own` is the bundled dictionary.
        features: Number of features drawn by seed.
        allow_other_model: Accept a dictionary whose file names another model.
        allow_untrained: Accept a model that predicts text no better than random weights.
        positions: Number of live activations of held-out texts to explain as well.
        features_of: The part of the features to draw from: see bridge.features.
        src_verbalizer: Verbalizer of the source: a folder, NAME:OPTION=VALUE,... or own:... (default: the model's own).
        dst_verbalizer: Verbalizer of the destination, in the same form.
        washout: Form in which a verbalizer receives directions: none, mean, blend or contrast, as contrast:strength=2;
            give several to compare them.
        encoder: Sentence encoder that judges explanations, or lsa: no download (default: all-MiniLM-L6-v2).
        batch_size: Texts per forward pass (default: as many as fit).
    """

    map: str | PathLike[str]
    corpus: str | PathLike[str]
    corpus_sha256: str | PathLike[str]
    src_identity: str | PathLike[str]
    dst_identity: str | PathLike[str]
    max_documents: int | None
    max_tokens: int
    skip: int
    outlier_factor: float
    split: Literal["random", "last"]
    held_out: float
    folds: int
    seed: int
    device: str | PathLike[str]
    dtype: str | PathLike[str]
    dictionary: str | PathLike[str]
    features: int
    allow_other_model: bool
    allow_untrained: bool
    positions: int
    features_of: Literal["training", "tuning", "reporting"]
    src_verbalizer: str | PathLike[str]
    dst_verbalizer: str | PathLike[str]
    washout: Sequence[str]
    encoder: str | PathLike[str]
    batch_size: int | None
