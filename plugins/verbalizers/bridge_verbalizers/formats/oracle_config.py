"""`ao_config.json` of activation oracles since February 2026: layers, prompt and injection."""

from __future__ import annotations

from pathlib import Path
from typing import final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.errors import BridgeError
from bridge.files import write_json
from bridge.files.bounded import read_bytes
from bridge.readers import Message, Prompt
from bridge_verbalizers.formats.examples import BASE, write_adapter

NAME = "ao_config.json"
PLACE = " ?"
PREFIX = "Layer: {layer}\n{places} \n"
SPELLINGS = ("{special_token} * {num_positions}", "{special_tokens}")
"""Spellings of the placeholders in configurations: the trainer writes a description that it never formats."""

ADDS_SINCE = "2025-10-26"
"""Before this date the trainer replaced activations by vectors (its commit 969a07f, "Use addition in hook")."""


@final
class OracleConfig(BaseModel):
    """The settings that are needed; the trainer writes all of its settings, and more with each version.

    Attributes:
        model_name: The base model.
        hook_onto_layer: The block, from 0, to whose output vectors are added.
        special_token: The placeholder, once for each vector.
        prefix_template: The prompt before the question.
        steering_coefficient: Length of an added vector over the length of the activation at its position.
        act_layer_combinations: Blocks whose outputs it reads; a combination of several is read together.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())

    model_name: str = ""
    hook_onto_layer: int = Field(default=1, ge=0)
    special_token: str = PLACE
    prefix_template: str = PREFIX
    steering_coefficient: float = Field(default=1.0, gt=0)
    act_layer_combinations: list[list[int]] = []
    created_at_utc: str = ""
    schema_version: int = 1

    @model_validator(mode="after")
    def _refuse(self) -> OracleConfig:
        if self.schema_version != 1:
            raise ValueError(f"its schema_version is {self.schema_version}; only 1 is supported")
        if self.created_at_utc and self.created_at_utc[: len(ADDS_SINCE)] < ADDS_SINCE:
            raise ValueError(
                f"it was written at {self.created_at_utc}, when oracles replaced activations instead of adding to "
                "them, which is not supported"
            )
        if self.prefix.replace("{layer}", "").replace("{places}", "") != PREFIX.replace("{layer}", "").replace(
            "{places}", ""
        ):
            raise ValueError(f"its prefix_template {self.prefix_template!r} is not supported")
        return self

    @property
    def prefix(self) -> str:
        """The prefix with `{layer}` and `{places}`."""
        text = self.prefix_template.replace("\\n", "\n")
        for spelling in SPELLINGS:
            text = text.replace(spelling, "{places}")
        return text

    @property
    def layers(self) -> list[int]:
        """Blocks that it reads alone; combinations of several blocks are not supported."""
        return [combination[0] for combination in self.act_layer_combinations if len(combination) == 1]


def write_example(folder: Path) -> None:
    """Write the small files of an oracle, without weights, for the laws of its format."""
    write_adapter(folder)
    write_json(folder / NAME, OracleConfig(model_name=BASE, act_layer_combinations=[[1]]).model_dump())


def read_config(folder: Path) -> OracleConfig | None:
    """Read the configuration of an oracle's folder; None if there is none.

    Raises:
        BridgeError: If it is not valid JSON, or has unsupported values.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return OracleConfig.model_validate_json(read_bytes(path))
    except (OSError, ValueError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        said = "; ".join(str(item["msg"]).removeprefix("Value error, ") for item in faults) or str(error)
        raise BridgeError(
            f"{path} cannot be used: {said}.",
            cause="It is damaged, or was written by a newer trainer.",
        ) from error


def prompt_of(config: OracleConfig) -> Prompt:
    """Return the prompt of an oracle: its prefix with the places of the vectors, and the question after it."""
    before, _, after = config.prefix.partition("{places}")
    return Prompt(
        messages=(Message(content=f"{before}{{vectors}}{after}{{question}}"),),
        placeholder=config.special_token,
        several=True,
        template_options={"enable_thinking": False},
    )
