"""Names of the files and folders of EasyNLA readers, and the settings beside a reconstructor."""

from __future__ import annotations

from typing import final

from pydantic import BaseModel, ConfigDict, Field

AVS, ARS = ("av", "av_base"), ("ar", "critic", "ar_reconstructor")
"""Names of the folders of AV and AR: of `bridge`, of the RL trainer, and of published repositories."""

AR_META, AR_FILE, HEAD = "ar_meta.json", "ar_lora_value_head.safetensors", "value_head.safetensors"
AR_HEAD = "value_head.weight"


@final
class ArMeta(BaseModel):
    """`ar_meta.json`: settings of the adapter and head of an AR."""

    model_config = ConfigDict(extra="forbid")

    ar_num_layers: int = Field(gt=0)
    lora_r: int = Field(gt=0)
    lora_alpha: float = Field(gt=0)
    target_modules: str | list[str]
    final_norm_stripped: bool = False
    """Missing in checkpoints from before June 2026, which kept the norm."""
    quant: str | None = None
