"""Tiny random autoencoders, written in the layout of released ones."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from bridge.models import LoadedModel, Placement
from bridge.plugins import discover
from bridge.references import Site
from bridge.verbalizers import Passage, Subject, Verbalizer
from bridge_verbalizers.nla import NLA

CHAR = "㈎"
AV_TEMPLATE = "the map <concept>{injection_char}</concept> of the stream"
AR_TEMPLATE = "<text>{explanation}</text> <summary>"
CHAT = "{{ bos_token }}{% for message in messages %}<user>{{ message['content'] }}{% endfor %}<model>"
CASES = {
    "Qwen2ForCausalLM": ("qwen", 0),
    "Gemma3ForCausalLM": ("gemma", 0),
    "Gemma3ForConditionalGeneration": ("gemma", 1),
    "LlamaForCausalLM": ("llama", 0),
}
LAYER = 1


class TrainedSubject(Subject):
    """As much of a subject as a verbalizer that is trained already asks for."""

    def __init__(self, d_model: int, seed: int = 0) -> None:
        self.name, self.site, self.d_model, self.n_layers = "tiny@1", Site(LAYER), d_model, 3
        self.placement, self.seed = Placement("cpu", "float32"), seed

    def load(self) -> LoadedModel:
        raise NotImplementedError

    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        raise NotImplementedError


def tiny_nla(folder: Path) -> Verbalizer:
    """Write an AV and its AR, and open them."""
    width = write_av(folder / "av")
    write_ar(folder / "ar")
    return NLA(checkpoint=str(folder), max_new_tokens=6).open(TrainedSubject(width))


def write_av(path: Path, case: str = "LlamaForCausalLM", older: bool = False, scale: Any = 30.0) -> int:
    """Write an AV, its sidecar in the older or the newer generation, and return its width."""
    family, index = CASES[case]
    config = deepcopy(discover().models[family].tiny_configs()[index])
    tokenizer = _write_model(path, config)
    ids = tokenizer.encode(f"<concept>{CHAR}</concept>", add_special_tokens=False)
    at = ids.index(tokenizer.encode(CHAR, add_special_tokens=False)[0])
    tokens = {
        "injection_char": CHAR,
        "injection_token_id": ids[at],
        "injection_left_neighbor_id": ids[at - 1],
        "injection_right_neighbor_id": ids[at + 1],
    }
    width = config.get_text_config().hidden_size
    _write_sidecar(path, "av", older, width, {"injection_scale": scale}, tokens, AV_TEMPLATE)
    return int(width)


def write_ar(path: Path, case: str = "LlamaForCausalLM", older: bool = False, bare: bool = True) -> None:
    """Write an AR of block 1; a bare one has no weights of head and final norm, as a trainer may leave it."""
    family, index = CASES[case]
    config = deepcopy(discover().models[family].tiny_configs()[index])
    text = config.get_text_config()
    text.num_hidden_layers = LAYER + 1
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: LAYER + 1]
    tokenizer = _write_model(path, config)
    if bare:
        weights = load_file(path / "model.safetensors")
        kept = {
            name: w for name, w in weights.items() if "lm_head" not in name and not name.endswith("model.norm.weight")
        }
        save_file(kept, path / "model.safetensors", {"format": "pt"})
    width = text.hidden_size
    torch.manual_seed(7)
    save_file({"weight": torch.randn(width, width)}, path / "value_head.safetensors")
    suffix = tokenizer.encode(AR_TEMPLATE.partition("{explanation}")[2], add_special_tokens=False)[1:]
    extraction = {"injection_scale": None, "mse_scale": 5.0, "layer_index": LAYER}
    _write_sidecar(path, "ar", older, width, extraction, {"critic_suffix_ids": suffix}, AR_TEMPLATE)


def _write_model(path: Path, config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    from bridge.models.tiny_tokenizer import tiny_tokenizer
    from bridge.models.transformers_adapter import quiet

    text = config.get_text_config()
    tokenizer = tiny_tokenizer(bos=text.bos_token_id is not None)
    tokenizer.add_tokens([CHAR])
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(path)
    text.vocab_size = len(tokenizer)
    with torch.random.fork_rng(), quiet(), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():
            # Wide enough apart that what a vector says is heard, and that no two tokens are equally likely.
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(6)
        model.save_pretrained(path)
    return tokenizer


def _write_sidecar(
    path: Path, role: str, older: bool, width: int, extraction: dict[str, Any], tokens: dict[str, Any], template: str
) -> None:
    said = {"av": "actor", "ar": "critic"}[role] if older else role
    data = {
        "kind": "nla_model",
        "role": said,
        "d_model": int(width),
        "extraction": extraction,
        "tokens": tokens,
        "prompt_templates": {said: template},
        "schema_version": 1,
    }
    (path / "nla_meta.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
