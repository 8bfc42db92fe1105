"""The sidecar `nla_meta.yaml` of a natural-language autoencoder: both generations are read, the newer is written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bridge.errors import BridgeError
from bridge.files.yaml import read_yaml
from bridge_verbalizers.formats.meta import Injection

NAME = "nla_meta.yaml"
OLDER_ROLES = {"actor": "av", "critic": "ar"}
RAW = ("raw", "none")
Scale = float | Literal["sqrt_d_model"] | None


@final
class Extraction(BaseModel):
    """Lengths to which vectors are scaled before injection or comparison, and the site.

    Both lengths are a number, `sqrt_d_model`, or `raw`, which means no scaling and is None here. `null` means `raw` for
    `mse_scale`; an AV with `injection_scale: null` is refused, and an AR injects nothing.

    `layer_index` is K for the output of block K (`hidden_states[K + 1]`), from any place in the file. `point` and
    `injection` are additions of bridge: for sites that are not the output of a block, and for vectors that do not
    replace the embedding of the injection token.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    injection_scale: Scale = "sqrt_d_model"
    mse_scale: Scale = "sqrt_d_model"
    layer_index: int | None = None
    point: str = ""
    base_model: str = ""
    injection: Injection | None = None

    @field_validator("injection_scale", "mse_scale", mode="before")
    @classmethod
    def _translate(cls, scale: Any) -> Any:
        return None if scale in RAW else scale


@final
class Tokens(BaseModel):
    """The vector's place in the prompt, as token ids that the loaded tokenizer must also give."""

    model_config = ConfigDict(extra="ignore")

    injection_char: str = ""
    injection_token_id: int = -1
    injection_left_neighbor_id: int = -1
    injection_right_neighbor_id: int = -1
    critic_suffix_ids: list[int] | None = None


@final
class Sidecar(BaseModel):
    """Properties of one half of an autoencoder.

    Attributes:
        role: `av` (vector to text) or `ar` (text to vector).
        d_model: Width of the vectors.
        template: The prompt, with `{injection_char}` in an AV and `{explanation}` in an AR.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    kind: Literal["nla_model"] = "nla_model"
    role: Literal["av", "ar"]
    d_model: int = Field(gt=0)
    extraction: Extraction = Extraction()
    tokens: Tokens = Tokens()
    prompt_templates: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _translate(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("it is no mapping")
        data = dict(data)
        data["role"] = OLDER_ROLES.get(str(data.get("role")), data.get("role"))
        templates = data.get("prompt_templates")
        if isinstance(templates, dict):
            data["prompt_templates"] = _newest(templates)
        extraction = data.get("extraction") or {}
        _refuse_changed_vectors(data, extraction)
        if isinstance(extraction, dict):
            scale, added = extraction.get("injection_scale"), extraction.get("injection")
            if data["role"] == "av" and scale is None and added is None:
                # As in the released client (`load_nla_config` of nla_inference.py): only an AR may have null.
                raise ValueError(
                    "extraction.injection_scale is missing or null, the length that vectors are given: the released "
                    "client refuses this, too (write the number that it was trained with, sqrt_d_model, or raw for "
                    "vectors that keep their length)"
                )
            data["extraction"] = extraction | {"layer_index": _layer(data, extraction)}
            training = data.get("training")
            if not extraction.get("point") and isinstance(training, dict):
                # Older checkpoints of bridge have no point; their site is in the subject, MODEL@SITE.
                _, _, point = str(training.get("subject", "")).rpartition("@")[2].partition(".")
                data["extraction"]["point"] = point
        return data

    @model_validator(mode="after")
    def _need_template(self) -> Sidecar:
        hole = "{injection_char}" if self.role == "av" else "{explanation}"
        text, found, rest = self.prompt_templates.get(self.role, "").partition(hole)
        # Other clients use str.format, which interprets other braces: their prompt would differ.
        if not found or set("{}") & set(text + rest):
            raise ValueError(f"prompt_templates.{self.role} has not {hole} once, and no other braces")
        if self.role == "av" and not self.tokens.injection_char:
            raise ValueError("tokens.injection_char is missing")
        for name in ("injection_scale", "mse_scale"):
            scale = getattr(self.extraction, name)
            if isinstance(scale, float) and scale <= 0:
                raise ValueError(f"extraction.{name} is not positive")
        return self

    @property
    def template(self) -> str:
        """The prompt of this half."""
        return self.prompt_templates[self.role]

    @property
    def injection_scale(self) -> float | None:
        """Length to which a vector is scaled before injection, or None."""
        return self._resolve(self.extraction.injection_scale)

    @property
    def site(self) -> str:
        """Site of its vectors, as `20` or `20.attn_out`; empty if the file does not give it."""
        layer, point = self.extraction.layer_index, self.extraction.point
        return "" if layer is None else f"{layer}.{point}" if point else str(layer)

    def _resolve(self, scale: Scale) -> float | None:
        return math.sqrt(self.d_model) if scale == "sqrt_d_model" else scale


def _newest(by_role: dict[Any, Any]) -> dict[Any, Any]:
    """Rename roles as in the newer generation; if a file has both names, the newer name's value is used."""
    older = {OLDER_ROLES[key]: value for key, value in by_role.items() if key in OLDER_ROLES and value}
    return older | {key: value for key, value in by_role.items() if key not in OLDER_ROLES and value}


def _refuse_changed_vectors(data: dict[str, Any], extraction: Any) -> None:
    """Refuse a half that was trained on vectors which were changed before: it would read others, and not say so.

    Raises:
        ValueError: Naming the key.
    """
    changed = {"extraction.norm": extraction.get("norm") if isinstance(extraction, dict) else None}
    changed["whitening"] = data.get("whitening")
    for key, value in changed.items():
        if value not in (None, *RAW):
            raise ValueError(f"it says {key}: {value}, and how vectors are changed by that is not known here")


def _layer(data: dict[str, Any], extraction: dict[str, Any]) -> Any:
    """Return the layer in a file, K for the output of block K, from any of the places that released files use.

    A sidecar's `num_hidden_layers` is K; that of `config.json` is K + 1 (docs/design.md of the released code).

    Raises:
        ValueError: If the file names two different layers.
    """
    sections = {name: part for name in ("ar", "critic", "av", "actor") if isinstance(part := data.get(name), dict)}
    if "ar" in sections:
        sections.pop("critic", None)
    if "av" in sections:
        sections.pop("actor", None)
    places = {"extraction": extraction, "": data, **sections}
    keys = ("layer_index", "extraction_layer_index", "num_hidden_layers")
    found = {
        f"{place}.{key}".lstrip("."): part[key]
        for place, part in places.items()
        for key in keys
        if part.get(key) is not None and (place or key != "num_hidden_layers")
    }
    if len({str(value) for value in found.values()}) > 1:
        raise ValueError(f"it names several layers: {', '.join(f'{key} {value}' for key, value in found.items())}")
    return next(iter(found.values()), None)


def read_sidecar(folder: Path, role: Literal["av", "ar"]) -> Sidecar:
    """Read the sidecar of a checkpoint folder.

    Raises:
        BridgeError: If the sidecar is missing, not YAML, incomplete, or has the other role.
    """
    path = folder / NAME
    try:
        sidecar = Sidecar.model_validate(read_yaml(path))
    except OSError as error:
        raise BridgeError(
            f"{folder} holds no {NAME}.",
            cause="It is no activation verbalizer, or was copied without its sidecar.",
            remedy="Give the folder of an NLA checkpoint, or train one: "
            "bridge verbalizer train --model MODEL@SITE --out FOLDER.",
        ) from error
    except ValueError as error:  # a ValidationError is a ValueError
        faults = "; ".join(str(item["msg"]) for item in error.errors()) if isinstance(error, ValidationError) else error
        raise BridgeError(f"{path} cannot be used: {faults}.", cause="It is damaged, or of another version.") from error
    if sidecar.role != role:
        raise BridgeError(
            f"{folder} is the {sidecar.role.upper()} half of an autoencoder, not the {role.upper()} half.",
            cause="The two folders were swapped.",
            remedy="An AV is given as checkpoint, an AR as ar.",
        )
    return sidecar


def write_sidecar(folder: Path, sidecar: Sidecar, record: dict[str, Any]) -> None:
    """Write the sidecar of a checkpoint, with the record of its training."""
    import yaml

    data = sidecar.model_dump() | {"training": record}
    # Without a scale the released client refuses the checkpoint; with a scale it would replace instead of add.
    data["extraction"].pop("injection_scale" if sidecar.extraction.injection else "injection")
    (folder / NAME).write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
