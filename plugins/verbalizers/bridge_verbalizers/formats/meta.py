"""The sidecar `nla_meta.yaml`, in all versions that trainers of natural-language autoencoders write.

Unknown keys are refused in sections that determine the meaning of a vector (`extraction`, `tokens`), and ignored in
records of the training.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.errors import BridgeError
from bridge.files.yaml import read_yaml

NAME = "nla_meta.yaml"
RAW = (None, "raw", "none")
ROLES = {"av": "av", "actor": "av", "ar": "ar", "critic": "ar"}
LAYERS = ("layer_index", "extraction_layer_index")
MARK, TEXT = "{injection_char}", "{explanation}"


@final
class Injection(BaseModel):
    """An injection that the released client does not support: a block's output h becomes h + |h| v / |v|."""

    model_config = ConfigDict(extra="forbid")

    block: int = Field(default=1, ge=0)
    how: Literal["add"] = "add"
    length: Literal["norm_of_place"] = "norm_of_place"


@final
class Extraction(BaseModel):
    """Where vectors were read, and the lengths to which they are scaled."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    base_model: str = ""
    d_model: int | None = Field(default=None, gt=0)
    layer_index: int | None = None
    extraction_layer_index: int | None = None
    point: str = ""
    norm: str | None = None
    injection_scale: float | str | None = None
    mse_scale: float | str | None = "sqrt_d_model"
    injection: Injection | None = None
    corpus: Any = None
    corpus_slice: Any = None
    positions_per_doc: Any = None


@final
class Tokens(BaseModel):
    """The placeholder in the prompt, with token ids of the trainer's tokenizer; -1 if missing."""

    model_config = ConfigDict(extra="forbid")

    injection_char: str = ""
    injection_token_id: int = -1
    injection_left_neighbor_id: int = -1
    injection_right_neighbor_id: int = -1
    critic_suffix_ids: list[int] | None = None


@final
class Meta(BaseModel):
    """One sidecar.

    Attributes:
        kind: `nla_model` for a model; `nla_dataset` for a dataset, which EasyNLA copies into the model's folder.
        role: `av`, `ar`, or empty if missing.
        d_model: Width of the vectors.
        stage: The stage of the training that wrote it.
        extraction: Where vectors were read.
        tokens: The placeholder.
        prompt_templates: Prompts by role.
        training: Record of the training.
        says_scale: Whether it has the key `injection_scale`.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    kind: Literal["nla_model", "nla_dataset"]
    role: Literal["av", "ar", ""] = ""
    d_model: int = Field(gt=0)
    layer: int | None = None
    stage: str = ""
    created_by: str = ""
    base: str = ""
    extraction: Extraction = Extraction()
    tokens: Tokens = Tokens()
    prompt_templates: dict[str, str] = {}
    training: dict[str, Any] = {}
    says_scale: bool = False

    @model_validator(mode="before")
    @classmethod
    def _translate(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("it is not a mapping")
        if data.get("whitening"):
            raise ValueError("it has the key whitening: readers of whitened vectors are not supported")
        extraction = data.get("extraction") or {}
        if not isinstance(extraction, dict):
            raise ValueError("extraction is not a mapping")
        templates = data.get("prompt_templates")
        found = {
            "role": ROLES.get(str(data.get("role")), data.get("role") or ""),
            "d_model": data.get("d_model") or extraction.get("d_model"),
            "layer": _layer(data, extraction),
            "base": data.get("base_checkpoint") or extraction.get("base_model") or "",
            "extraction": extraction,
            "tokens": data.get("tokens") or {},
            "prompt_templates": _by_role(templates) if isinstance(templates, dict) else {},
            "says_scale": "injection_scale" in extraction,
        }
        kept = {key: data[key] for key in ("kind", "stage", "created_by") if data.get(key) is not None}
        training = data.get("training")
        return kept | found | ({"training": training} if isinstance(training, dict) else {})

    @model_validator(mode="after")
    def _refuse(self) -> Meta:
        norm = self.extraction.norm
        if norm not in RAW:
            raise ValueError(f"extraction.norm is {norm}: readers of transformed vectors are not supported")
        for name, scale in (("injection_scale", self.extraction.injection_scale), ("mse_scale", self.mse_scale)):
            if isinstance(scale, str) and scale not in (*RAW, "sqrt_d_model"):
                raise ValueError(f"extraction.{name} is {scale!r}, which is not a length")
            if isinstance(scale, float) and scale <= 0:
                raise ValueError(f"extraction.{name} is not positive")
        return self

    @property
    def injection_scale(self) -> float | None:
        """Length to which a vector is scaled for the injection; None for no scaling."""
        return self._length(self.extraction.injection_scale)

    @property
    def mse_scale(self) -> float | None:
        """Length to which vectors are scaled for comparison; None for no scaling."""
        return self._length(self.extraction.mse_scale)

    @property
    def site(self) -> str:
        """Site of its vectors, as `20` or `20.attn_out`; empty if the file does not name it."""
        point = self.extraction.point
        return "" if self.layer is None else f"{self.layer}.{point}" if point else str(self.layer)

    def template(self, role: Literal["av", "ar"]) -> str:
        """Return the prompt of the AV or AR.

        Raises:
            ValueError: If there is none, or it does not have its field.
        """
        text, hole = self.prompt_templates.get(role, ""), MARK if role == "av" else TEXT
        before, found, after = text.partition(hole)
        if not found or set("{}") & set(before + after):
            raise ValueError(f"prompt_templates.{role} needs {hole} once, and no other braces")
        return text

    def _length(self, scale: float | str | None) -> float | None:
        if scale in RAW:
            return None
        return math.sqrt(self.d_model) if scale == "sqrt_d_model" else float(scale or 0)


def read_meta(folder: Path) -> Meta:
    """Read the sidecar of a folder.

    Raises:
        BridgeError: If there is none, it is not valid YAML, or it has values or keys that are not supported.
    """
    path = folder / NAME
    try:
        return Meta.model_validate(read_yaml(path))
    except OSError as error:
        raise BridgeError(
            f"{folder} has no {NAME}.",
            cause="It is not the folder of a reader, or was copied without this file.",
            remedy="Copy the file from the source of the weights: trainers write it with the weights or their dataset.",
        ) from error
    except ValueError as error:  # a ValidationError is a ValueError
        raise BridgeError(
            f"{path} cannot be used: {_faults(error)}.",
            cause="It is damaged, or was written by an unknown trainer or version.",
        ) from error


def is_lens(meta: Meta) -> bool:
    """Tell whether a sidecar belongs to an oracle lens; it differs from that of an NLA only in stage and trainer."""
    return meta.kind == "nla_model" and (meta.stage.startswith("iolens-ao") or "prep_rl_data" in meta.created_by)


def _faults(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    said = []
    for item in error.errors():
        place = ".".join(map(str, item["loc"]))
        unknown = item["type"] == "extra_forbidden"
        said.append(f"it has the unknown key {place}, which may change its meaning" if unknown else "")
        message = str(item["msg"]).removeprefix("Value error, ")
        said[-1] = said[-1] or (f"{place}: {message}" if place else message)
    return "; ".join(said)


def _by_role(templates: dict[Any, Any]) -> dict[str, str]:
    older = {ROLES[key]: str(text) for key, text in templates.items() if key in ("actor", "critic") and text}
    return older | {key: str(text) for key, text in templates.items() if key in ("av", "ar") and text}


def _layer(data: dict[str, Any], extraction: dict[str, Any]) -> Any:
    found = {str(part[key]): part[key] for part in (data, extraction) for key in LAYERS if part.get(key) is not None}
    if len(found) > 1:
        raise ValueError(f"it names several layers: {', '.join(found)}")
    return next(iter(found.values()), None)
