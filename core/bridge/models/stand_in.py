"""Stand-ins of checkpoints for rehearsals: few random weights in the model's own configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bridge.corpus.read import BUNDLED, load_corpus
from bridge.files.json import read_json
from bridge.models.tiny_tokenizer import tiny_tokenizer

VOCABULARY = 1024
"""Rows of a stand-in's embedding, at least; its tokenizer uses fewer, so that a reader can add tokens of its own."""

SPARE = 124
"""Rows that the tokenizer does not use."""

TOKENS = 900
"""Tokens of a stand-in's tokenizer, more than 256 bytes and the special ones; a byte fallback adds 256 others."""

DOCUMENTS = 200
"""Texts of the bundled corpus that a stand-in's tokenizer is trained on."""

_OF_DEPTH = re.compile(r"layer|interval|pattern|every|step|window|position|types")
_PLACEHOLDER = re.compile(r"(image|video|audio|vision|boi|eoi|boa|eoa|eoc).*_(id|index)$")
_SIZES = {
    "num_attention_heads": 4,
    "n_head": 4,
    "num_heads": 4,
    "head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
}


def rows_for(tokenizer: Any) -> int:
    """Return the rows of the embedding for a stand-in's tokenizer: real ones may have thousands of added tokens."""
    return max(VOCABULARY, len(tokenizer) + SPARE)


def stand_in_config(config: Any, tiny: Sequence[Any], d_model: int, vocabulary: int = VOCABULARY) -> Any:
    """Return the configuration of a stand-in: the model's own, with the sizes of a tiny model of the same class.

    What decides depth and kinds of blocks (their number, kinds of attention, windows, positions) and all switches are
    the model's own. Heads, experts, inner widths and everything about images are those of the tiny configuration of
    the same class, or fixed small numbers if there is none.

    Args:
        config: transformers' configuration of the model.
        tiny: Tiny configurations of the family.
        d_model: Width of the stand-in.
        vocabulary: Rows of its embedding.
    """
    pattern = max((one for one in tiny if type(one) is type(config)), key=partial(_likeness, config), default=None)
    text = config.get_text_config()
    depth = int(text.num_hidden_layers)
    small = _scaled(config.to_dict(), pattern.to_dict() if pattern else None, depth, vocabulary - 1)
    found = type(config).from_dict(small)
    inner = found.get_text_config()
    inner.hidden_size, inner.vocab_size = d_model, vocabulary
    if pattern is None:
        for name in ("intermediate_size", "ffn_dim", "n_inner", "moe_intermediate_size"):
            if isinstance(getattr(inner, name, None), int):
                setattr(inner, name, 2 * d_model)
    return found


def _likeness(config: Any, other: Any) -> int:
    """Count the switches of two text models that are the same, and the sizes that both have or lack."""
    one, two = config.get_text_config().to_dict(), other.get_text_config().to_dict()
    return sum(
        type(value) is type(two.get(name)) and (not isinstance(value, bool | str) or value == two[name])
        for name, value in one.items()
    )


def _scaled(real: Mapping[str, Any], tiny: Mapping[str, Any] | None, depth: int, outside: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in real.items():
        other = tiny.get(name, value) if tiny is not None else _small(name, value, real)
        kept = bool(_OF_DEPTH.search(name)) or (isinstance(value, list) and len(value) == depth)
        if _PLACEHOLDER.search(name) and isinstance(value, int):
            # No token of the tokenizer has these ids: its text never asks for an image.
            found[name], outside = outside, outside - 1
        elif name == "text_config" and isinstance(value, Mapping):
            found[name] = _scaled(value, other if tiny is not None else None, depth, outside)
        elif isinstance(value, Mapping) and isinstance(other, Mapping):
            found[name] = dict(other) if "model_type" in value else _rotary(value, other)
        elif kept or isinstance(value, bool) or not isinstance(value, int | list):
            found[name] = value
        else:
            found[name] = other
    return found


def _rotary(real: Mapping[str, Any], tiny: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of rotary positions, with sections that divide the tiny heads."""
    sections = {name: value for name, value in tiny.items() if isinstance(value, list)}
    return {**real, **{name: value for name, value in sections.items() if name in real}}


def _small(name: str, value: Any, real: Mapping[str, Any]) -> Any:
    if name == "num_key_value_heads":
        return 4 if value == real.get("num_attention_heads") else 1 if value == 1 else 2
    return _SIZES.get(name, value)


def stand_in_tokenizer(config: Any, folder: Path | None, options: Mapping[str, Any]) -> Any:
    """Return a tokenizer of the model's kind with a small vocabulary.

    The model's own tokenizer, where its files are here, is trained anew on a few texts: normalisation, cuts between
    words, special tokens and chat template stay. Without its files the class is the one that transformers has for this
    type of model, else a byte-level BPE.

    Args:
        config: transformers' configuration of the model.
        folder: Folder of the model's small files, or None.
        options: Options of the tokenizer's `from_pretrained`.
    """
    from transformers import AutoTokenizer

    said = _json(folder / "tokenizer_config.json") if folder else {}
    if folder and any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        own = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    else:
        own = _of_class(config, said)
    texts = [one.text for one in load_corpus(BUNDLED, max_documents=DOCUMENTS).documents]
    found = own.train_new_from_iterator(texts, TOKENS - (256 if _falls_back(own) else 0))
    _add_bytes(found)
    if said.get("add_bos_token") and found.bos_token is not None:
        _begin_with_bos(found)
    return found


def _of_class(config: Any, said: Mapping[str, Any]) -> Any:
    import transformers
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    name = TOKENIZER_MAPPING_NAMES.get(config.model_type)
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    if kind is not None:
        try:
            return kind()
        except (TypeError, ValueError):  # a class without a vocabulary of its own
            pass
    bos = getattr(config.get_text_config(), "bos_token_id", None) is not None
    return tiny_tokenizer(bos=bool(said.get("add_bos_token", bos)))


def _falls_back(tokenizer: Any) -> bool:
    return bool(json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("byte_fallback"))


def _add_bytes(tokenizer: Any) -> None:
    """Add the byte tokens, which training leaves out, to a vocabulary that falls back on them."""
    from tokenizers import Tokenizer as Backend

    data = json.loads(tokenizer.backend_tokenizer.to_str())
    model = data["model"]
    if not model.get("byte_fallback") or not isinstance(model.get("vocab"), dict) or "<0x00>" in model["vocab"]:
        return
    first = max([*model["vocab"].values(), *(one["id"] for one in data["added_tokens"])]) + 1
    model["vocab"] |= {f"<0x{byte:02X}>": first + byte for byte in range(256)}
    tokenizer._tokenizer = Backend.from_str(json.dumps(data))


def _begin_with_bos(tokenizer: Any) -> None:
    from tokenizers import processors

    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))]
    )


def _json(file: Path) -> dict[str, Any]:
    return read_json(file, dict[str, Any]) if file.is_file() else {}


def agree(config: Any, tokenizer: Any) -> None:
    """Write the special tokens of a tokenizer into a configuration, in place.

    What the tokenizer has none of is token 0 where the configuration needs one, and else None.
    """
    text = config.get_text_config()
    for part in {id(one): one for one in (config, text)}.values():
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            needed = getattr(part, name, None) is not None
            if hasattr(part, name):
                found = getattr(tokenizer, name)
                setattr(part, name, 0 if found is None and needed else found)
