"""The options of a run, in groups: each is handed to the stages that it concerns, and to no others.

A field's alias is its name everywhere outside: as a flag, in TOML files, as a Python keyword and in records. Its
description is its help text, and its default is written here alone.
"""

from __future__ import annotations

from typing import Literal, final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bridge.features import Use
from bridge.models.dtype import AUTO, decided_dtype


class Group(BaseModel):
    """Some options; abstract."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


@final
class ModelOptions(Group):
    """The two models, and how they are run."""

    src: str = Field(
        description="Source model, as smollm2-135m@19, user/model@66%, ./folder@12.",
        json_schema_extra={"metavar": "MODEL@LAYER"},
    )
    dst: str = Field(
        "", description="Destination model, written likewise.", json_schema_extra={"metavar": "MODEL@LAYER"}
    )
    src_identity: str = Field("", description="If set, refuse source weights whose content differs.")
    dst_identity: str = Field("", description="If set, refuse destination weights whose content differs.")
    device: str = Field(AUTO, description="cpu, cuda, cuda:N, mps, or auto.", json_schema_extra={"metavar": "DEVICE"})
    dtype: str = Field(
        AUTO, description="bfloat16, float32, or auto: the faster one.", json_schema_extra={"metavar": "DTYPE"}
    )
    batch_size: int | None = Field(None, ge=1, description="Texts per forward pass (default: as many as fit).")

    allow_untrained: bool = Field(
        False, description="Go on with a model that predicts text no better than random weights do."
    )

    @field_validator("dtype")
    @classmethod
    def _refuse_other_dtypes(cls, dtype: str) -> str:
        return dtype if dtype == AUTO else decided_dtype(dtype, "cpu")


@final
class CorpusOptions(Group):
    """The text that both models are run on, how it is cut, and what of it is held out."""

    source: str = Field(
        "",
        alias="corpus",
        description="Text: a file or folder, - for stdin, hub:user/dataset, or a name (default: the models' own, or "
        "english).",
        json_schema_extra={"metavar": "SOURCE"},
    )
    sha256: str = Field("", alias="corpus_sha256", description="If set, refuse a corpus whose content differs.")
    max_documents: int | None = Field(None, ge=1, description="Use the first so many documents only.")
    max_tokens: int = Field(256, ge=2, description="Cut texts after so many tokens.")
    skip: int = Field(8, ge=0, description="Leave out the first so many tokens of each text (attention sinks).")
    outlier_factor: float = Field(4.0, gt=1, description="Leave out rows of norm above so many medians.")
    split: Literal["random", "last"] = Field("random", description="Which documents are held out.")
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
    """The source's dictionary, and which of its features are explained."""

    reference: str = Field(
        "",
        alias="dictionary",
        description="Explain features of this dictionary of the source, or of its `own`.",
        json_schema_extra={"metavar": "SAE"},
    )
    allow_other_model: bool = Field(False, description="Take a dictionary though its file names another model.")
    features: int = Field(45, ge=2, description="How many features are drawn by seed.")
    features_of: Use = Field("reporting", description="Which features are drawn from: see bridge.features.")


@final
class VerbalizeOptions(Group):
    """What is explained besides features, by which verbalizers, and how."""

    positions: int = Field(0, ge=0, description="Explain so many live activations of held-out texts, too.")
    src_verbalizer: str = Field(
        "",
        description="The source's: a folder, NAME:OPTION=VALUE,... or own:... (default: the model's own).",
        json_schema_extra={"metavar": "VERBALIZER"},
    )
    dst_verbalizer: str = Field(
        "",
        description="The destination's, likewise.",
        json_schema_extra={"metavar": "VERBALIZER"},
    )
    washout: tuple[str, ...] = Field(
        ("contrast",),
        description="How directions are shown: none, mean, blend or contrast, as contrast:strength=2; several to "
        "compare.",
        json_schema_extra={"metavar": "STRATEGY"},
    )


@final
class ScoreOptions(Group):
    """How explanations are judged."""

    encoder: str = Field(
        "",
        description="Sentence encoder that judges explanations, or lsa: no download (default: all-MiniLM-L6-v2).",
        json_schema_extra={"metavar": "MODEL"},
    )


@final
class RunOptions(Group):
    """What concerns every stage."""

    seed: int = Field(0, ge=0, description="Of everything random.")
