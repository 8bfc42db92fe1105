"""Everything that a run depends on, in one record: what the command line, TOML files and Python all fill in."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bridge.collect.activations import CollectSettings
from bridge.errors import UsageError
from bridge.features import Use
from bridge.maps import Map
from bridge.models import Placement
from bridge.models.dtype import AUTO, decided_dtype
from bridge.pipeline.plan.specs import build, describe_errors
from bridge.plugins.registry import Registry


@final
class Options(BaseModel):
    """Options of a run; `config.toml` in a run folder holds exactly these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    src: str = Field(description="Source model and layer, as in smollm2-135m@19.")
    dst: str = Field(description="Destination model and layer, as in gemma3-270m@12.")
    map: str = Field("ridge", description="Map type and its options, as in procrustes:rotation=true.")
    corpus: str = Field(
        "", description="Text to run both models on: a path, -, hub:user/dataset, or english (default)."
    )
    corpus_sha256: str = Field("", description="If set, refuse a corpus whose content differs.")
    src_identity: str = Field("", description="If set, refuse source weights whose content differs.")
    dst_identity: str = Field("", description="If set, refuse destination weights whose content differs.")
    max_documents: int | None = Field(None, ge=1, description="Use the first so many documents only.")
    max_tokens: int = Field(256, ge=2, description="Cut texts after so many tokens.")
    skip: int = Field(8, ge=0, description="Leave out the first so many tokens of every text (attention sinks).")
    outlier_factor: float = Field(4.0, gt=1, description="Leave out rows whose norm is above so many medians.")
    split: Literal["random", "last"] = Field("random", description="Which documents are held out.")
    held_out: float = Field(0.2, gt=0, lt=1, description="Share of documents held out for the scores.")
    folds: int = Field(5, ge=2, description="Training folds for cross-validation.")
    seed: int = Field(0, ge=0, description="Of everything random.")
    device: str = Field("auto", description="cpu, cuda, cuda:N, mps or auto.")
    dtype: str = Field(AUTO, description="Of forward passes and rows: bfloat16, float32 or auto, the faster one.")
    dictionary: str = Field("", description="The source's dictionary, whose features both verbalizers explain.")
    features: int = Field(45, ge=2, description="How many of its features are drawn by seed.")
    positions: int = Field(0, ge=0, description="How many live activations of held-out documents both explain.")
    features_of: Use = Field("reporting", description="Which features are drawn from: see bridge.features.")
    src_verbalizer: str = Field("", description="Verbalizer of the source; empty for its own.")
    dst_verbalizer: str = Field("", description="Verbalizer of the destination; empty for its own.")
    washout: tuple[str, ...] = Field(("contrast",), description="How directions are shown, as in contrast:strength=2.")
    encoder: str = Field("", description="What judges explanations: a sentence encoder, or lsa; empty for all-MiniLM.")
    batch_size: int | None = Field(None, ge=1, description="Texts per forward pass; automatic by default.")

    @field_validator("dtype")
    @classmethod
    def _refuse_other_dtypes(cls, dtype: str) -> str:
        return dtype if dtype == AUTO else decided_dtype(dtype, "cpu")

    def settings(self) -> CollectSettings:
        """Return what collection needs of these."""
        placement = self.placement()
        return CollectSettings(
            placement.dtype, self.max_tokens, self.batch_size, placement.torch_device().partition(":")[0]
        )

    def placement(self) -> Placement:
        """Return where models go, with `auto` decided."""
        return Placement(self.device, self.dtype)

    def build_map(self, registry: Registry) -> Map:
        """Make the map that `map` names, with its options.

        Raises:
            UsageError: If there is no such map or option.
        """
        return build(self.map, registry.map_type)


def make_options(**given: Any) -> Options:
    """Check options; those that are None are left at their defaults.

    Raises:
        UsageError: If an option is unknown or has a value it cannot have.
    """
    try:
        paths = {key: os.fspath(value) for key, value in given.items() if isinstance(value, os.PathLike)}
        return Options(**{key: value for key, value in (given | paths).items() if value is not None})
    except ValidationError as error:
        raise UsageError(
            f"The options do not make sense: {describe_errors(error)}.",
            remedy=f"Known options: {', '.join(Options.model_fields)}.",
        ) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read an experiment file.

    Raises:
        UsageError: If it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a readable TOML file ({error}).") from error
