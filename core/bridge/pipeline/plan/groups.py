"""The options of a run, in groups; a stage receives only the groups that it needs.

A field's alias is its public name: as a flag, in TOML files, as a Python keyword and in records. Its description is its
help text. This file is the only place with the defaults.
"""

from __future__ import annotations

from typing import Literal, final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bridge.features import Use
from bridge.models.dtype import AUTO, decided_dtype
from bridge.models.quantize import FULL, Quantize


class Group(BaseModel):
    """A group of options; abstract."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


TRANSFORMERS = "transformers"
"""The source of activations that runs the model in this process."""


@final
class ModelOptions(Group):
    """The two models, and the settings for running them."""

    src: str = Field(
        description="Source model, as smollm2-135m@19, user/model@66%, ./folder@12.",
        json_schema_extra={"metavar": "MODEL@LAYER"},
    )
    dst: str = Field(
        "", description="Destination model, in the same form.", json_schema_extra={"metavar": "MODEL@LAYER"}
    )
    src_identity: str = Field("", description="If set, refuse source weights whose content differs.")
    dst_identity: str = Field("", description="If set, refuse destination weights whose content differs.")
    device: str = Field(AUTO, description="cpu, cuda, cuda:N, mps, or auto.", json_schema_extra={"metavar": "DEVICE"})
    src_activations: str = Field(
        TRANSFORMERS,
        description="Where the source's activations come from, as vllm:tensor_parallel=2.",
        json_schema_extra={"metavar": "SOURCE"},
    )
    dst_activations: str = Field(
        TRANSFORMERS,
        description="Where the destination's activations come from, in the same form.",
        json_schema_extra={"metavar": "SOURCE"},
    )
    dtype: str = Field(
        AUTO, description="bfloat16, float32, or auto: the faster dtype.", json_schema_extra={"metavar": "DTYPE"}
    )
    quantize: Quantize = Field(
        FULL, description="Load both models with linear layers in 8 or 4 bits (bitsandbytes): other numbers."
    )
    batch_size: int | None = Field(None, ge=1, description="Texts per forward pass (default: as many as fit).")

    engine: str = Field(
        "",
        description="Where shards, layer pairs and explanations are worked off, as ray:OPTION=VALUE,... (default: this "
        "process).",
        json_schema_extra={"metavar": "ENGINE"},
    )
    allow_untrained: bool = Field(False, description="Accept a model that predicts text no better than random weights.")

    @field_validator("dtype")
    @classmethod
    def _refuse_other_dtypes(cls, dtype: str) -> str:
        return dtype if dtype == AUTO else decided_dtype(dtype, "cpu")


@final
class CorpusOptions(Group):
    """The text that both models are run on, its truncation, and its split."""

    source: str = Field(
        "",
        alias="corpus",
        description="Text: a file or folder, - for stdin, hub:user/dataset, or a name (default: the models' own, or "
        "english).",
        json_schema_extra={"metavar": "SOURCE"},
    )
    sha256: str = Field("", alias="corpus_sha256", description="If set, refuse a corpus whose content differs.")
    max_documents: int | None = Field(None, ge=1, description="Number of documents used, from the first on.")
    max_tokens: int = Field(256, ge=2, description="Number of tokens after which texts are cut.")
    skip: int = Field(8, ge=0, description="Number of tokens left out at the start of each text (attention sinks).")
    outlier_factor: float = Field(4.0, gt=1, description="Leave out rows with a norm above this many times the median.")
    split: Literal["random", "last"] = Field("random", description="Choice of the held-out documents.")
    held_out: float = Field(0.2, gt=0, lt=1, description="Share of documents held out for the scores.")
    folds: int = Field(5, ge=2, description="Training folds for cross-validation.")


@final
class MapOptions(Group):
    """The map that is fitted."""

    spec: str = Field(
        "ridge",
        alias="map",
        description="Map type, as procrustes:scaled=false.",
        json_schema_extra={"metavar": "MAP[:OPTION=VALUE,...]"},
    )


@final
class DictionaryOptions(Group):
    """The source's dictionary, and the choice of its features to explain."""

    reference: str = Field(
        "",
        alias="dictionary",
        description="Explain features of this dictionary of the source; `own` is the bundled dictionary.",
        json_schema_extra={"metavar": "SAE"},
    )
    allow_other_model: bool = Field(False, description="Accept a dictionary whose file names another model.")
    features: int = Field(45, ge=2, description="Number of features drawn by seed.")
    features_of: Use = Field("reporting", description="The part of the features to draw from: see bridge.features.")


@final
class VerbalizeOptions(Group):
    """The verbalizers, the washouts, and the number of live activations."""

    positions: int = Field(0, ge=0, description="Number of live activations of held-out texts to explain as well.")
    src_verbalizer: str = Field(
        "",
        description="Verbalizer of the source: a folder, NAME:OPTION=VALUE,... or own:... (default: the model's own).",
        json_schema_extra={"metavar": "VERBALIZER"},
    )
    dst_verbalizer: str = Field(
        "",
        description="Verbalizer of the destination, in the same form.",
        json_schema_extra={"metavar": "VERBALIZER"},
    )
    washout: tuple[str, ...] = Field(
        ("contrast",),
        description="Form in which a verbalizer receives directions: none, mean, blend or contrast, as "
        "contrast:strength=2; give several to compare them.",
        json_schema_extra={"metavar": "STRATEGY"},
    )


@final
class ScoreOptions(Group):
    """The judge of explanations."""

    encoder: str = Field(
        "",
        description="Sentence encoder that judges explanations, or lsa: no download (default: all-MiniLM-L6-v2).",
        json_schema_extra={"metavar": "MODEL"},
    )


@final
class RunOptions(Group):
    """Options for every stage."""

    seed: int = Field(0, ge=0, description="Random seed.")
