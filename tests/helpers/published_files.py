"""Folders of published readers, written file by file as each source's own training script writes them.

Bases are tiny and random. Adapters are not zero: `lora_B` is drawn, too, so that what they change is heard.
"""

from __future__ import annotations

import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from bridge.plugins import discover

CHAR, PLACE = "㈎", " ?"
BASES = {
    "qwen3": ("qwen3", 0),
    "llama": ("llama", 0),
    "gemma3": ("gemma", 0),
    "gemma3 in its wrapper": ("gemma", 1),
}
# As Qwen3's: what is left of thinking stands in the prompt only where it is switched off.
CHAT = (
    "{{ bos_token }}{% for message in messages %}<user>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<model>{% if enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% endif %}{% endif %}"
)
AV_TEMPLATE = "the map <concept>{injection_char}</concept> of the stream"
AR_TEMPLATE = "the stream <text>{explanation}</text> <summary>"
LAYER = 1
LINEAR = r".*\.self_attn\.(q_proj|k_proj|v_proj|o_proj)|.*\.mlp\.(gate_proj|up_proj|down_proj)"


def write_base(path: Path, case: str = "qwen3", width: int = 0) -> int:
    """Write a base model with its tokenizer and return its width."""
    from transformers import AddedToken, AutoModelForCausalLM

    from bridge.models.tiny_tokenizer import tiny_tokenizer
    from bridge.models.transformers_adapter import quiet

    family, index = BASES[case]
    config = deepcopy(discover().models[family].tiny_configs()[index])
    text = config.get_text_config()
    text.num_hidden_layers = 4
    if getattr(text, "layer_types", None):
        text.layer_types = [*text.layer_types, "full_attention"][:4]
    # Every token of a prompt must see the vector.
    text.sliding_window = 512
    if width:
        text.hidden_size = width
    tokenizer = tiny_tokenizer(bos=family != "qwen3")
    tokenizer.add_tokens([AddedToken(CHAR, normalized=False), AddedToken(PLACE, normalized=False)])
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
    return int(text.hidden_size)


def tokenizer_of(path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def adapted(base: Path, seed: int = 1, **lora: Any) -> Any:
    """Return a base with a LoRA adapter on it, as `get_peft_model` makes it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from bridge.models.transformers_adapter import quiet

    with torch.random.fork_rng(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers about what is deprecated there
        torch.manual_seed(seed)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
            LoraConfig(**{"r": 4, "lora_alpha": 8, "bias": "none", "task_type": "CAUSAL_LM"} | lora),
        )
        draw(model)
    return model.eval()


def draw(model: Any) -> None:
    """Make the second factor of every adapter random: as it begins, it is zero."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)


def write_easynla_av(path: Path, base: Path, *, merged: bool = False, **sidecar: Any) -> None:
    """Write what `train_sft --mode av --use-lora` leaves, or what `merge_lora_to_hf` makes of it."""
    model = adapted(base, r=8, lora_alpha=4, use_rslora=True, target_modules=LINEAR)
    (model.merge_and_unload() if merged else model).save_pretrained(path)
    tokenizer = tokenizer_of(base)
    tokenizer.save_pretrained(path)
    _write_yaml(path, _dataset_sidecar(tokenizer, base, "av_sft", **sidecar))


def write_easynla_ar(path: Path, base: Path, *, strip: bool | None = True, **sidecar: Any) -> None:
    """Write what `train_sft --mode ar --use-lora` leaves: the adapter and the head of a critic in one file."""
    critic = critic_of(base, strip is True)
    path.mkdir(parents=True, exist_ok=True)
    kept = {
        name: weight.detach().contiguous()
        for name, weight in critic.named_parameters()
        if "lora_" in name or name.startswith("value_head")
    }
    save_file(kept, path / "ar_lora_value_head.safetensors")
    meta: dict[str, Any] = {
        "ar_num_layers": LAYER + 1,
        "lora_r": 8,
        "lora_alpha": 4,
        "quant": "none",
        "target_modules": LINEAR,
    }
    # Checkpoints from before June 2026 do not say it, and have the norm.
    (path / "ar_meta.json").write_text(json.dumps(meta | ({} if strip is None else {"final_norm_stripped": strip})))
    tokenizer = tokenizer_of(base)
    tokenizer.save_pretrained(path)
    _write_yaml(path, _dataset_sidecar(tokenizer, base, "ar_sft", **sidecar))


def critic_of(base: Path, strip: bool) -> Any:
    """Return the critic of EasyNLA: the first blocks of a base with an adapter in them, and a linear head."""
    from peft import LoraConfig, inject_adapter_in_model

    with torch.random.fork_rng():
        torch.manual_seed(2)
        critic = torch.nn.Module()
        critic.backbone = inject_adapter_in_model(
            LoraConfig(r=8, lora_alpha=4, use_rslora=True, target_modules=LINEAR, task_type="CAUSAL_LM"),
            _cut(base, strip),
        )
        draw(critic)
        width = critic.backbone.config.hidden_size
        critic.value_head = torch.nn.Linear(width, width, bias=False)
    return critic.eval()


def _cut(base: Path, strip: bool) -> Any:
    from transformers import AutoModelForCausalLM

    from bridge.models.transformers_adapter import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if hasattr(model.model, "language_model"):
            # As its `resolve_text_model` does: the text model within a new wrapper.
            text = AutoModelForCausalLM.from_config(model.config.get_text_config())
            text.model = model.model.language_model
            model = text
    model.model.layers = model.model.layers[: LAYER + 1]
    model.config.num_hidden_layers = LAYER + 1
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[: LAYER + 1]
    if strip:
        model.model.norm = torch.nn.Identity()
    model.lm_head = torch.nn.Identity()
    return model


def write_merged_ar(path: Path, base: Path) -> None:
    """Write what `merge_lora_to_hf` makes of a critic: a cut checkpoint without final norm and head, and its own."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    from bridge.models.transformers_adapter import quiet

    critic = critic_of(base, strip=True)
    for module in critic.backbone.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    state = {
        name.replace(".base_layer.", "."): weight
        for name, weight in critic.backbone.state_dict().items()
        if "lora_" not in name
    }
    with quiet():
        _cut(base, strip=True).save_pretrained(path, state_dict=state)
    save_file({"weight": critic.value_head.weight.detach()}, path / "value_head.safetensors")
    tokenizer = tokenizer_of(base)
    tokenizer.save_pretrained(path)
    _write_yaml(path, _dataset_sidecar(tokenizer, base, "ar_sft"))


def write_oracle(path: Path, base: Path, config: dict[str, Any] | None = None) -> None:
    """Write what `nl_probes/sft.py` leaves: an adapter on all linear layers, and since February 2026 its config."""
    model = adapted(base, r=4, lora_alpha=8, lora_dropout=0.05, target_modules="all-linear")
    model.save_pretrained(path)
    if config is not None:
        (path / "ao_config.json").write_text(json.dumps(oracle_config(base) | config, indent=2))


def oracle_config(base: Path) -> dict[str, Any]:
    """Return `ao_config.json` as `write_training_config` writes it; fields of its training are left out."""
    return {
        "layer_combinations": [[25], [50], [75]],
        "act_layer_combinations": [[0], [1], [2]],
        "schema_version": 1,
        "special_token": PLACE,
        "prefix_template": "Layer: {layer}\\n{special_token} * {num_positions} \\n",
        "model_name": str(base),
        "hook_onto_layer": 1,
        "use_decoder_vectors": True,
        "generation_kwargs": {"do_sample": False, "max_new_tokens": 20},
        "steering_coefficient": 1.0,
        "lora_r": 4,
        "lora_alpha": 8,
        "created_at_utc": "2026-02-06T10:00:00+00:00",
        "git_commit": "b58a041cfcab91a812e850c222c996bb5b345d23",
    }


CONCEPTS = (
    "An activation vector from layer {layer} of a language model is enclosed in activation tags: "
    "<activation>{injection_char}</activation>. Produce distinct concepts that encode this activation, each as a '- ' "
    "bullet on its own line."
)


def write_oracle_lens(path: Path, base: Path, config: dict[str, Any] | None = None, **sidecar: Any) -> None:
    """Write what `soft_token_sft` leaves of a step (`lora/`, `meta.json`) and the sidecar of `prep_rl_data`."""
    model = adapted(base, r=4, lora_alpha=8, target_modules="all-linear", task_type=None)
    model.save_pretrained(path / "lora")
    run = {"run_name": "distill", "transform": "unit", "layers": [0, LAYER, 2], "alpha": 16000.0, "scales": {}}
    run |= {"extra": {"prompt": "concepts_raw"}}
    (path / "meta.json").write_text(json.dumps({"micro_steps": 105, "val_ce": 1.7, "config": run | (config or {})}))
    tokenizer = tokenizer_of(base)
    template = CONCEPTS.replace("{layer}", "0")
    tokens = _tokens(tokenizer, template, enable_thinking=False)
    data = {
        "kind": "nla_model",
        "schema_version": 2,
        "role": "actor",
        "stage": "iolens-ao-rl-warmstart",
        "base_checkpoint": str(base),
        "d_model": _width(base),
        "extraction": {"injection_scale": None, "mse_scale": None},
        "tokens": tokens | {"critic_suffix_ids": None},
        "prompt_templates": {"actor": template, "critic": None},
        "trained_on": [],
        "parent_checkpoints": [],
        "created_by": "scripts/rl/prep_rl_data.py",
    }
    _write_yaml(path / "lora", data | sidecar)


def write_lora_nla(path: Path, base: Path, **sidecar: Any) -> None:
    """Write what `train_av_single_layer` leaves: an adapter, the tokenizer, and a sidecar without neighbours."""
    adapted(base, target_modules=["q_proj", "v_proj", "up_proj"]).save_pretrained(path)
    tokenizer = tokenizer_of(base)
    tokenizer.save_pretrained(path)
    data = {
        "kind": "nla_model",
        "schema_version": 2,
        "role": "av",
        "stage": "sft",
        "d_model": _width(base),
        "extraction_layer_index": LAYER,
        "extraction": {"injection_scale": 150.0},
        "tokens": {
            "injection_char": CHAR,
            "injection_token_id": tokenizer.convert_tokens_to_ids(CHAR),
        },
        "prompt_templates": {"av": AV_TEMPLATE + "\n<explanation>", "ar": AR_TEMPLATE},
        "training": {"method": "lora_sft", "injection_mode": "normalize", "chat_template": True, "lora_r": 4},
    }
    _write_yaml(path, data | sidecar)


def _dataset_sidecar(tokenizer: Any, base: Path, stage: str, **changed: Any) -> dict[str, Any]:
    """Return what `serialize_sidecar` writes beside a dataset, which `train_sft` copies beside a checkpoint."""
    suffix = tokenizer.encode(AR_TEMPLATE.partition("{explanation}")[2], add_special_tokens=False)[1:]
    extraction = {
        "base_model": str(base),
        "d_model": _width(base),
        "layer_index": LAYER,
        "norm": "none",
        "corpus": "some/corpus",
        "corpus_slice": {"start": 0, "length": 10},
        "positions_per_doc": 10,
    }
    return {
        "dataset_id": f"{stage}_tiny",
        "stage": stage,
        "row_count": 100,
        "extraction": extraction | changed,
        "kind": "nla_dataset",
        "schema_version": 1,
        "keep_debug_metadata": True,
        "tokens": _tokens(tokenizer, AV_TEMPLATE) | {"critic_suffix_ids": suffix if stage == "ar_sft" else None},
        "prompt_templates": {"actor": AV_TEMPLATE} | ({"critic": AR_TEMPLATE} if stage == "ar_sft" else {}),
        "parent_datasets": ["base_tiny"],
        "created_by": "nla.datagen.stage3_build",
    }


def _tokens(tokenizer: Any, template: str, **chat: Any) -> dict[str, Any]:
    ids = chat_ids(tokenizer, template.replace("{injection_char}", CHAR), **chat)
    at = ids.index(tokenizer.convert_tokens_to_ids(CHAR))
    return {
        "injection_char": CHAR,
        "injection_token_id": ids[at],
        "injection_left_neighbor_id": ids[at - 1],
        "injection_right_neighbor_id": ids[at + 1],
    }


def chat_ids(tokenizer: Any, content: str, **chat: Any) -> list[int]:
    """Return the ids of a user's message, rendered first and cut then, as the sources do."""
    message = [{"role": "user", "content": content}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **chat)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _width(base: Path) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(base).get_text_config().hidden_size)


def _write_yaml(path: Path, data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    (path / "nla_meta.yaml").write_text(text, encoding="utf-8")
