"""Models of few tokens and few positions: they are read as far as they reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, RobertaConfig, RobertaForCausalLM

from bridge.corpus import Document
from bridge.errors import ModelError
from bridge.models import Placement, Weights
from bridge.plugins import Registry

SIZES = {"vocab_size": 3, "bos_token_id": None, "eos_token_id": None}


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=16, **SIZES))


def roberta() -> Any:
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "is_decoder": True, "pad_token_id": 1}
    return RobertaForCausalLM(
        RobertaConfig(hidden_size=8, intermediate_size=8, max_position_embeddings=18, **heads, **SIZES)
    )


@pytest.mark.parametrize(("family", "make"), [("gpt2", gpt2), ("huggingface", roberta)])
def test_three_tokens_and_sixteen_positions_do(family: str, make: Any, tmp_path: Path, registry: Registry) -> None:
    make().save_pretrained(tmp_path)
    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2, "c": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?").save_pretrained(tmp_path)
    weights = Weights(str(tmp_path))
    assert registry.models[family].describe(weights).max_tokens == 16
    model = registry.models[family].load(weights, Placement("cpu", "float32"))
    (one,) = model.encode([Document("a b " * 20, "g")], 16)
    ids = torch.from_numpy(one.ids)[None]
    assert model.logits(ids, torch.ones_like(ids)).shape == (1, 16, 3)
    with pytest.raises(ModelError, match=r"the id 3 \('c'\) .*embeddings of 3 tokens"):
        model.encode([Document("a c", "g")], 16)
