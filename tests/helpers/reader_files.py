"""Tiny random bases and adapters, and a reader format that describes them as it is told."""

from __future__ import annotations

import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any, final

import torch

from bridge.errors import BridgeError
from bridge.plugins import discover
from bridge.readers import (
    Affine,
    Answer,
    Injection,
    Message,
    Prompt,
    Reader,
    ReaderFormat,
    Reconstruction,
    Sampling,
    Weights,
    read_adapter,
)
from nla_files import CHAR, _write_model

BASES = {
    "Qwen3ForCausalLM": ("", 0),
    "LlamaForCausalLM": ("llama", 0),
    "Gemma3ForCausalLM": ("gemma", 0),
    "Gemma3ForConditionalGeneration": ("gemma", 1),
}
FILE = "told.json"


def write_base(path: Path, case: str) -> int:
    """Write a tiny random base model of a class, with a tokenizer; return its width."""
    family, index = BASES[case]
    config = deepcopy(discover().models[family].tiny_configs()[index]) if family else _qwen3()
    text = config.get_text_config()
    if getattr(text, "layer_types", None):
        # Behind a sliding window the last block would not see a vector that went into the one before.
        text.layer_types = [*text.layer_types[:-1], "full_attention"]
    _write_model(path, config)
    return int(config.get_text_config().hidden_size)


def _qwen3() -> Any:
    from transformers import Qwen3Config

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 8}
    return Qwen3Config(
        vocab_size=512,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
        **sizes,
    )


def write_adapter(path: Path, base: Path, seed: int = 1, **settings: Any) -> None:
    """Write a random adapter on a base, as peft saves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
        torch.manual_seed(seed)
        given = {
            "r": 4,
            "lora_alpha": 16,
            "target_modules": r".*layers.*(q_proj|down_proj)",
            "init_lora_weights": False,
        }
        get_peft_model(module, LoraConfig(**given | settings)).save_pretrained(path)


def with_peft(base: Path, folder: Path) -> Any:
    """Load a base with an adapter as peft itself does."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)


@final
class Told(ReaderFormat):
    """Folders with `told.json`: what is asked for in a test."""

    name = "told"
    summary = "what a test tells"

    def recognises(self, folder: Path) -> bool:
        """Look for the file."""
        return (folder / FILE).is_file()

    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Describe what the file says."""
        try:
            said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BridgeError(f"{folder / FILE} cannot be read ({error}).") from error
        adapted = (folder / "adapter_config.json").is_file()
        weights = Weights(adapter=read_adapter(folder), tokenizer=None) if adapted else Weights(folder=folder)
        back = None
        if "ar" in said:
            back = Reconstruction(
                d_model=said["d_model"],
                weights=Weights(adapter=read_adapter(folder / "ar")),
                block=said["ar"],
                template="<text>{explanation}</text>",
                head=Affine(file=folder / "head.safetensors"),
            )
        return Reader(
            d_model=said["d_model"],
            sites=("1",),
            weights=weights,
            prompt=Prompt(
                messages=(Message(content=said.get("template", "Layer: {layer}\n{vectors} {question}")),),
                placeholder=CHAR,
                several=True,
            ),
            injection=Injection(**said["injection"]),
            answer=Answer(rule="free"),
            sampling=Sampling(max_new_tokens=6),
            reconstruction=back,
        )


def tell(folder: Path, **said: Any) -> Path:
    """Write the file of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(said), encoding="utf-8")
    return folder
