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
        max_documents: Use the first so many documents only.
        max_tokens: Cut texts after so many tokens.
        skip: Leave out the first so many tokens of each text (attention sinks).
        outlier_factor: Leave out rows of norm above so many medians.
        split: Which documents are held out.
        held_out: Share of documents held out for the scores.
        folds: Training folds for cross-validation.
        seed: Of everything random.
        device: cpu, cuda, cuda:N, mps, or auto.
        dtype: bfloat16, float32, or auto: the faster one.
        dictionary: Explain features of this dictionary of the source, or of its `own`.
        features: How many features are drawn by seed.
        allow_other_model: Take a dictionary though its file names another model.
        allow_untrained: Go on with a model that predicts text no better than random weights do.
        positions: Explain so many live activations of held-out texts, too.
        features_of: Which features are drawn from: see bridge.features.
        src_verbalizer: The source's: a folder, NAME:OPTION=VALUE,... or own:... (default: the model's own).
        dst_verbalizer: The destination's, likewise.
        washout: How directions are shown: none, mean, blend or contrast, as contrast:strength=2; several to compare.
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
