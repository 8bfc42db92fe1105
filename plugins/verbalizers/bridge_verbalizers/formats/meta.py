"""What `nla_meta.yaml` says, in every generation that trainers of natural-language autoencoders have written.

Keys that are not known are refused where they may change what a vector means (`extraction`, `tokens`), and passed over
where they record how something was trained.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.errors import BridgeError

NAME = "nla_meta.yaml"
RAW = (None, "raw", "none")
ROLES = {"av": "av", "actor": "av", "ar": "ar", "critic": "ar"}
LAYERS = ("layer_index", "extraction_layer_index")
MARK, TEXT = "{injection_char}", "{explanation}"


@final
class Injection(BaseModel):
    """An injection that the released client does not know: v is added to a block's output h as h + |h| v / |v|."""

    model_config = ConfigDict(extra="forbid")

    block: int = Field(default=1, ge=0)
    how: Literal["add"] = "add"
    length: Literal["norm_of_place"] = "norm_of_place"


@final
class Extraction(BaseModel):
    """Where vectors were read, and the lengths that they are given."""

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
    """The mark in the prompt, in token ids of the trainer's tokenizer; -1 where it is not said."""

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
        kind: `nla_model` beside weights; `nla_dataset` beside data, which EasyNLA copies beside weights.
        role: `av`, `ar`, or empty where it does not say.
        d_model: Width of the vectors.
        stage: What made it.
        extraction: Where vectors were read.
        tokens: The mark.
        prompt_templates: Prompts by role.
        training: What a trainer recorded.
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
            raise ValueError("it is no mapping")
        if data.get("whitening"):
            raise ValueError("it has the key whitening: its vectors are whitened, and the statistics are not read here")
        extraction = data.get("extraction") or {}
        if not isinstance(extraction, dict):
            raise ValueError("extraction is no mapping")
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
            raise ValueError(
                f"extraction.norm is {norm}: it reads vectors that were changed before, and how is not read here"
            )
        for name, scale in (("injection_scale", self.extraction.injection_scale), ("mse_scale", self.mse_scale)):
            if isinstance(scale, str) and scale not in (*RAW, "sqrt_d_model"):
                raise ValueError(f"extraction.{name} is {scale!r}, no length")
            if isinstance(scale, float) and scale <= 0:
                raise ValueError(f"extraction.{name} is not positive")
        return self

    @property
    def injection_scale(self) -> float | None:
        """Length of an injected vector; None for its own."""
        return self._length(self.extraction.injection_scale)

    @property
    def mse_scale(self) -> float | None:
        """Length of what is compared; None for its own."""
        return self._length(self.extraction.mse_scale)

    @property
    def site(self) -> str:
        """Where its vectors were read, as `20` or `20.attn_out`; empty where it does not say."""
        point = self.extraction.point
        return "" if self.layer is None else f"{self.layer}.{point}" if point else str(self.layer)

    def template(self, role: Literal["av", "ar"]) -> str:
        """Return the prompt of a half.

        Raises:
            ValueError: If it has none, or one without its hole.
        """
        text, hole = self.prompt_templates.get(role, ""), MARK if role == "av" else TEXT
        before, found, after = text.partition(hole)
        if not found or set("{}") & set(before + after):
            raise ValueError(f"prompt_templates.{role} has not {hole} once, and no other braces")
        return text

    def _length(self, scale: float | str | None) -> float | None:
        if scale in RAW:
            return None
        return math.sqrt(self.d_model) if scale == "sqrt_d_model" else float(scale or 0)


def read_meta(folder: Path) -> Meta:
    """Read the sidecar of a folder.

    Raises:
        BridgeError: If there is none, it is no YAML, or it says something that changes what it means.
    """
    import yaml

    path = folder / NAME
    try:
        return Meta.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BridgeError(
            f"{folder} holds no {NAME}.",
            cause="It is no reader, or was copied without the file that says how it reads.",
            remedy="Copy the file from where the weights come from: trainers write it beside them or their data.",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValidationError is a ValueError
        raise BridgeError(
            f"{path} cannot be used: {_faults(error)}.",
            cause="It is damaged, or was written by a trainer that does something which is not known here.",
        ) from error


def is_lens(meta: Meta) -> bool:
    """Tell whether a sidecar is that of an oracle lens: it looks like a released one, but for who made it."""
    return meta.kind == "nla_model" and (meta.stage.startswith("iolens-ao") or "prep_rl_data" in meta.created_by)


def _faults(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    said = []
    for item in error.errors():
        place = ".".join(map(str, item["loc"]))
        unknown = item["type"] == "extra_forbidden"
        said.append(f"it has the key {place}, which is not known and may change what it means" if unknown else "")
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
