"""Models: what is read at a site, what tokens stand for, and which weights a reference means."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gguf_files
from bridge.collect import CollectSettings, activations_artifact, collect, pad
from bridge.corpus import Corpus, Document, Message, load_corpus
from bridge.corpus.shards import shards
from bridge.errors import BridgeError, ModelError, ModelUnavailableError, UsageError
from bridge.models import Placement, TransformersAdapter, TransformersTokenizer, Weights
from bridge.models.resolve import ResolvedModel, resolve
from bridge.plugins import Registry
from bridge.progress import Silent
from bridge.references import Site
from bridge.store import Store

CPU = Placement("cpu", "float32")

# By class: where transformers keeps the blocks, and which modules add to the stream (of several, the first that a block
# has); written down from its source, not from our layouts. All but parallel GPT-NeoX and Phi have a stream between the
# two. Where a block does more than add two parts, there is no second.
ATTENTION = ("linear_attn", "self_attn")
NORMED = ("linear_attn", "post_attention_layernorm")
PARTS: dict[str, tuple[str, str | tuple[str, ...], str | tuple[str, ...]]] = {
    "GPT2LMHeadModel": ("transformer.h", "attn", "mlp"),
    "GPTNeoForCausalLM": ("transformer.h", "attn", "mlp"),
    "GPTNeoXForCausalLM": ("gpt_neox.layers", "attention", "mlp"),
    "Gemma2ForCausalLM": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "Gemma3ForCausalLM": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "Gemma3ForConditionalGeneration": (
        "model.language_model.layers",
        "post_attention_layernorm",
        "post_feedforward_layernorm",
    ),
    "Gemma4ForCausalLM": ("model.layers", "post_attention_layernorm", ()),
    "Gemma4ForConditionalGeneration": ("model.language_model.layers", "post_attention_layernorm", ()),
    "Gemma4UnifiedForCausalLM": ("model.layers", "post_attention_layernorm", ()),
    "Gemma4UnifiedForConditionalGeneration": ("model.language_model.layers", "post_attention_layernorm", ()),
    "GptOssForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Llama4ForCausalLM": ("model.layers", "self_attn", "feed_forward"),
    "Llama4ForConditionalGeneration": ("language_model.model.layers", "self_attn", "feed_forward"),
    "LlamaForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Ministral3ForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Mistral3ForConditionalGeneration": ("model.language_model.layers", "self_attn", "mlp"),
    "Mistral4ForCausalLM": ("model.layers", "self_attn", "mlp"),
    "MistralForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Olmo2ForCausalLM": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "Olmo3ForCausalLM": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "OlmoHybridForCausalLM": ("model.layers", NORMED, ("post_feedforward_layernorm", "mlp")),
    "Phi3ForCausalLM": ("model.layers", "self_attn", "mlp"),
    "PhiForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Qwen2ForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Qwen3ForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Qwen3NextForCausalLM": ("model.layers", ATTENTION, "mlp"),
    "Qwen3_5ForCausalLM": ("model.layers", ATTENTION, "mlp"),
    "Qwen3_5ForConditionalGeneration": ("model.language_model.layers", ATTENTION, "mlp"),
    "Qwen3_5MoeForCausalLM": ("model.layers", ATTENTION, "mlp"),
    "Qwen3_5MoeForConditionalGeneration": ("model.language_model.layers", ATTENTION, "mlp"),
    "SmolLM3ForCausalLM": ("model.layers", "self_attn", "mlp"),
    "Starcoder2ForCausalLM": ("model.layers", "self_attn", "mlp"),
}
FAMILIES = {
    "gemma": ["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"],
    "gemma2": ["Gemma2ForCausalLM"],
    "gemma4": [
        "Gemma4ForCausalLM",
        "Gemma4ForCausalLM",
        "Gemma4UnifiedForCausalLM",
        "Gemma4ForConditionalGeneration",
        "Gemma4UnifiedForConditionalGeneration",
    ],
    "gpt2": ["GPT2LMHeadModel"],
    "gpt_neo": ["GPTNeoForCausalLM"],
    "gpt_oss": ["GptOssForCausalLM"],
    "huggingface": ["Starcoder2ForCausalLM"],
    "llama": ["LlamaForCausalLM"],
    "llama4": ["Llama4ForCausalLM", "Llama4ForCausalLM", "Llama4ForConditionalGeneration"],
    "mistral": ["MistralForCausalLM"],
    "mistral3": ["Ministral3ForCausalLM", "Mistral4ForCausalLM", *["Mistral3ForConditionalGeneration"] * 3],
    "olmo2": ["Olmo2ForCausalLM"],
    "olmo3": ["Olmo3ForCausalLM", "OlmoHybridForCausalLM"],
    "phi": ["PhiForCausalLM", "Phi3ForCausalLM"],
    "pythia": ["GPTNeoXForCausalLM", "GPTNeoXForCausalLM"],
    "qwen": ["Qwen2ForCausalLM"],
    "qwen3": ["Qwen3ForCausalLM"],
    "qwen3_5": [
        "Qwen3_5ForCausalLM",
        "Qwen3_5MoeForCausalLM",
        "Qwen3NextForCausalLM",
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5MoeForConditionalGeneration",
    ],
    "smollm3": ["SmolLM3ForCausalLM"],
}
# Wrappers of which the text model alone is loaded, and by which class.
TEXT_ALONE = {
    "Llama4ForConditionalGeneration": "Llama4ForCausalLM",
    "Qwen3_5ForConditionalGeneration": "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForConditionalGeneration": "Qwen3_5MoeForCausalLM",
}
CASES = [(family, index) for family, classes in FAMILIES.items() for index in range(len(classes))]
# Families that read what the generic one refuses, or name points that it does not find.
MORE_THAN_PROBED = {"gemma4", "llama4", "mistral3", "olmo3", "qwen3_5"}
SERVED = [
    (served_by, *case)
    for served_by in ("its own family", "huggingface")
    for case in CASES
    if served_by != "huggingface" or case[0] not in MORE_THAN_PROBED
]


def plain_transformers(path: Path, texts: Sequence[Sequence[int]]) -> tuple[str, dict[Site, np.ndarray]]:
    """Run one text at a time through transformers alone; return the class, and (tokens, d_model) by site."""
    import torch
    import transformers

    (named,) = json.loads((path / "config.json").read_text())["architectures"]
    model = getattr(transformers, named).from_pretrained(path, dtype=torch.float32).eval()
    blocks, *parts = PARTS[named]
    seen: dict[Site, list[np.ndarray]] = {}

    def keep(site: Site, value: Any) -> None:
        value = value[0] if isinstance(value, tuple) else value
        value = value[None] if value.ndim == 2 else value  # experts return the rows of all texts
        seen.setdefault(site, []).append(value[0].detach().clone().numpy())

    def hook(site: Site) -> Callable[..., None]:
        return lambda module, args, out: keep(site, out)

    for layer, block in enumerate(model.get_submodule(blocks)):
        block.register_forward_hook(hook(Site(layer, "resid_post")))
        for point, names in zip(("attn_out", "mlp_out"), parts, strict=True):
            for module in [name for name in ([names] if isinstance(names, str) else names) if hasattr(block, name)][:1]:
                block.get_submodule(module).register_forward_hook(hook(Site(layer, point)))
    for ids in texts:
        with torch.no_grad():
            states = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True).hidden_states
        for layer in range(len(states) - 1):
            keep(Site(layer, "resid_pre"), states[layer])
        for layer in range(len(states) - 2):
            np.testing.assert_array_equal(seen[Site(layer)][-1], states[layer + 1][0].numpy())
    rows = {site: np.concatenate(parts) for site, parts in seen.items()}
    if model.config.model_type != "phi" and getattr(model.config, "use_parallel_residual", False) is not True:
        for layer in range(len(states) - 1):
            rows[Site(layer, "resid_mid")] = rows[Site(layer, "resid_pre")] + rows[Site(layer, "attn_out")]
    return type(model).__name__, rows


def collected(
    adapter: Any, path: Path, corpus: Corpus, store: Store
) -> tuple[Any, list[np.ndarray], dict[Site, np.ndarray]]:
    """Collect every site of a model over a corpus, three texts a batch; return model, ids of each text, and rows."""
    model = adapter.load(Weights(str(path)), CPU)
    sites = [Site(layer, point) for layer in range(model.n_layers) for point in model.layout.points]
    settings = CollectSettings("float32", max_tokens=40, batch_size=3)
    artifacts = {site: activations_artifact(store, str(path), site, corpus, settings) for site in sites}
    collect(lambda: model, "tiny", artifacts, corpus, settings, Silent())
    encoded = model.encode(corpus.documents, 40)
    rows = {
        site: np.concatenate([artifact.read(index)["rows"].numpy() for index in range(len(shards(corpus, 40)))])
        for site, artifact in artifacts.items()
    }
    return model, encoded, rows


def texts_of_different_lengths(corpus_file: Path) -> Corpus:
    documents = load_corpus(str(corpus_file), None, 8).documents
    cut = [document.text[: 11 + 23 * index] for index, document in enumerate(documents)]
    return Corpus("texts", tuple(Document(text, text) for text in [*cut, "naïve 🙂 你好"]))


@pytest.mark.parametrize(("served_by", "family", "index"), SERVED)
def test_activations_are_those_of_plain_transformers(
    family: str,
    index: int,
    served_by: str,
    registry: Registry,
    tiny_models: Mapping[str, list[Path]],
    corpus_file: Path,
    tmp_path: Path,
) -> None:
    path = tiny_models[family][index]
    assert len(list(path.glob("model-*-of-*.safetensors"))) > 1, "the checkpoint is meant to be sharded"
    adapter = registry.models["huggingface" if served_by == "huggingface" else family]
    model, encoded, rows = collected(adapter, path, texts_of_different_lengths(corpus_file), Store(tmp_path))
    assert len({len(one.ids) for one in encoded}) > 3, "the batches are meant to be padded"
    loaded_class, expected = plain_transformers(path, [one.ids.tolist() for one in encoded])
    assert loaded_class == FAMILIES[family][index]
    assert type(model.module).__name__ == TEXT_ALONE.get(loaded_class, loaded_class)
    assert set(rows) == set(expected)
    kept = np.concatenate([one.ends >= 0 for one in encoded])
    assert kept.mean() < 1 if model.tokenizer.tokenizer(" ").input_ids[0] == 0 else kept.all()
    for site, found in rows.items():
        want = expected[site][kept]
        assert np.abs(found - want).max() <= 1e-5 * np.abs(want).max(), f"{loaded_class} at {site}"


def test_every_registered_family_is_compared(registry: Registry) -> None:
    ours = {name for name, adapter in registry.models.items() if isinstance(adapter, TransformersAdapter)}
    assert set(FAMILIES) == ours


# Tokens.

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a model.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
)


@pytest.fixture
def chat_tokenizer(tiny_models: Mapping[str, list[Path]]) -> TransformersTokenizer:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_models["qwen"][0])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    return TransformersTokenizer(tokenizer, "a chat model")


def conversation(*contents: str) -> Document:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], content) for i, content in enumerate(contents))
    return Document("".join(contents), "".join(contents), messages)


def decoded(tokenizer: TransformersTokenizer, ids: np.ndarray) -> str:
    return str(tokenizer.tokenizer.decode(ids.tolist()))


@pytest.mark.parametrize(
    "contents",
    [
        ("What is the residual stream?", "A sum of what the blocks add.", "Thanks, that helps."),
        ("  spaces around  ", "\nand line breaks\n"),
        ("user", "assistant", "system"),  # the template says these words too
        ("You are", "a model."),  # and its default system prompt says these
        ("again", "again", "again"),
    ],
)
def test_chat_tokens_end_where_the_messages_say(
    contents: tuple[str, ...], chat_tokenizer: TransformersTokenizer
) -> None:
    document = conversation(*contents)
    [encoded] = chat_tokenizer.encode([document], 1000)
    ids, kept = encoded.ids, encoded.kept
    starts = np.cumsum([0, *map(len, contents)])
    message = np.searchsorted(starts, encoded.ends[kept]) - 1
    for index, content in enumerate(contents):
        rows = kept[message == index]
        np.testing.assert_array_equal(rows, np.arange(rows[0], rows[-1] + 1))
        assert decoded(chat_tokenizer, ids[rows]) == content.strip()
        turn = decoded(chat_tokenizer, ids[: rows[0]]).rpartition("<|im_start|>")
        assert turn[2] == f"{document.messages[index].role}\n"
        assert turn[0].count("<|im_start|>") == index + 1, "the default system prompt is the first turn"
        for row in rows:
            assert document.text[: encoded.ends[row]].endswith(decoded(chat_tokenizer, ids[[row]]))


def test_chats_and_texts_keep_their_order_and_limits(chat_tokenizer: TransformersTokenizer) -> None:
    documents = [Document("first", "1"), conversation("second", "third"), Document("fourth", "4")]
    encoded = chat_tokenizer.encode(documents, 1000)
    assert decoded(chat_tokenizer, encoded[0].ids) == "first"
    assert "second" in decoded(chat_tokenizer, encoded[1].ids)
    assert decoded(chat_tokenizer, encoded[2].ids) == "fourth"
    assert [len(one.ids) for one in chat_tokenizer.encode(documents, 4)] == [4, 4, 4]


def test_conversations_need_a_template_that_keeps_them(
    chat_tokenizer: TransformersTokenizer, tiny_models: Mapping[str, list[Path]], registry: Registry
) -> None:
    chat_tokenizer.tokenizer.chat_template = CHATML.replace("| trim", "| upper")
    with pytest.raises(ModelError, match="rewrites"):
        chat_tokenizer.encode([conversation("hello", "you")], 100)
    plain = registry.models["qwen"].tokenizer(Weights(str(tiny_models["qwen"][0])))
    with pytest.raises(ModelError, match="no chat template"):
        plain.encode([conversation("hello", "you")], 100)


def test_bos_stands_for_no_text_and_special_strings_are_words(
    tiny_models: Mapping[str, list[Path]], registry: Registry
) -> None:
    text = "before <bos> and <eos> after"
    for family, bos in (("gemma", 1), ("llama", 0)):
        tokenizer = registry.models[family].tokenizer(Weights(str(tiny_models[family][0])))
        [encoded] = tokenizer.encode([Document(text, text)], 1000)
        assert int((encoded.ids == 0).sum()) == bos, "a text that says <bos> does not make one"
        assert (encoded.ids[0] == 0) == bool(bos)
        assert not np.isin(encoded.ids[encoded.kept], [0, 1]).any()
        assert encoded.ends[encoded.kept][-1] == len(text)


# References.


@pytest.fixture
def find(registry: Registry, tmp_path: Path) -> Callable[[str], ResolvedModel]:
    return lambda text: resolve(text, registry.models, Store(tmp_path / "store"), Silent(), registry.aliases)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a checkpoint into the hub cache of this test, as if it had been downloaded."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def add(model: str, checkpoint: Path, revision: str = "main") -> None:
        folder = tmp_path / "hub" / f"models--{model.replace('/', '--')}"
        commit = hashlib.sha1(f"{model}#{revision}".encode()).hexdigest()
        shutil.copytree(checkpoint, folder / "snapshots" / commit)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / revision).write_text(commit)

    return add


@pytest.mark.parametrize(
    ("text", "model", "revision", "label", "family"),
    [
        ("qwen", "Qwen/Qwen2.5-7B-Instruct", "", "qwen@2", "qwen"),
        ("gemma", "google/gemma-3-27b-it", "", "gemma@2", "gemma"),
        ("llama", "meta-llama/Llama-3.3-70B-Instruct", "", "llama@2", "llama"),
        ("pythia-70m:seed3@1#step143000", "EleutherAI/pythia-70m-seed3", "step143000", None, "pythia"),
        ("pythia-160m@0.mlp_out", "EleutherAI/pythia-160m", "", None, "pythia"),
        ("someone/their-gpt2@66%", "someone/their-gpt2", "", "someone/their-gpt2@1", "gpt2"),
        ("someone/their-starcoder2@-1", "someone/their-starcoder2", "", "someone/their-starcoder2@2", "huggingface"),
    ],
)
def test_references_name_hub_models(
    text: str,
    model: str,
    revision: str,
    label: str | None,
    family: str,
    find: Callable[[str], ResolvedModel],
    hub: Callable[..., None],
    tiny_models: Mapping[str, list[Path]],
) -> None:
    hub(model, tiny_models[family][-1], revision or "main")
    found = find(text)
    assert (found.weights.source, found.adapter.name) == (model, family)
    assert re.fullmatch("[0-9a-f]{40}", found.weights.revision), "a branch is followed no further than its commit"
    assert found.pinned().endswith(f"#{found.weights.revision}")
    if text in ("qwen", "gemma", "llama"):
        # The alias's own layer is that of the real model, far deeper than the tiny one that stands in for it.
        assert found.site == {"qwen": "20", "gemma": "41", "llama": "53"}[text]
        assert found.released_verbalizer.startswith("nla:checkpoint=hub:kitft/"), "each of them has one for that layer"
        with pytest.raises(UsageError, match=f"has {found.info.n_layers} blocks"):
            found.single_site()
    else:
        assert found.label(found.single_site()) == (label or text)
    loaded = found.adapter.load(found.weights, CPU)
    assert (loaded.d_model, loaded.n_layers) == (found.info.d_model, found.info.n_layers)


def test_weights_put_there_by_hand_stand_in_for_an_alias(
    find: Callable[[str], ResolvedModel], isolated: Path, tiny_models: Mapping[str, list[Path]]
) -> None:
    shutil.copytree(tiny_models["llama"][0], isolated / "models" / "smollm2-135m")
    assert find("smollm2-135m@1").weights.folder == isolated / "models" / "smollm2-135m"
    with pytest.raises(ModelUnavailableError):
        find("smollm2-135m@1#v2")


def test_the_users_aliases_win(
    find: Callable[[str], ResolvedModel], isolated: Path, tiny_models: Mapping[str, list[Path]]
) -> None:
    path = tiny_models["llama"][0]
    (isolated / "config").mkdir()
    (isolated / "config" / "aliases.toml").write_text(f'qwen = "{path}@1"\nmine = "qwen@0"\n')
    found = find("qwen")
    assert (found.weights.folder, found.adapter.name, found.label(found.single_site())) == (path, "llama", "qwen@1")
    assert find("qwen@2.attn_out").single_site() == Site(2, "attn_out")
    (isolated / "config" / "aliases.toml").write_text("qwen = 3\n")
    with pytest.raises(UsageError, match=r"aliases\.toml"):
        find("qwen")


def test_what_cannot_be_found_says_what_can(
    find: Callable[[str], ResolvedModel], tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no model qwem\. Did you mean .*qwen"):
        find("qwem@3")
    with pytest.raises(UsageError, match=r"no variant seed99.*seed1"):
        find("pythia-70m:seed99@3")
    with pytest.raises(UsageError, match="no file or folder"):
        find("./nothing-here@3")
    with pytest.raises(UsageError, match=r"has 3 blocks.*from 0 to 2"):
        find(f"{tiny_models['llama'][0]}@3").single_site()
    with pytest.raises(UsageError, match=r"needs a layer.*0 to 2"):
        find(str(tiny_models["llama"][0])).single_site()
    with pytest.raises(UsageError, match=r"no resid_mid.*resid_post"):
        model = find(f"{tiny_models['pythia'][0]}@1.resid_mid")
        model.adapter.load(model.weights, CPU).layout.locate(model.single_site())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"No installed model family.*config\.json"):
        find(f"{tmp_path / 'empty'}@3")


@pytest.mark.parametrize("text", ["someone/not-here@3", "qwen", "pythia-70m:seed3@3#step143000", "gemma3-270m"])
def test_a_model_that_is_not_here_exits_with_3(text: str, find: Callable[[str], ResolvedModel]) -> None:
    with pytest.raises(ModelUnavailableError, match=r"not on this machine.*Put its files") as caught:
        find(text)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("text", ["someone/gated@3", "gemma"])
def test_a_gated_model_exits_with_3(
    text: str, find: Callable[[str], ResolvedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError
    from transformers.utils import hub

    def refuse(*args: Any, **kwargs: Any) -> None:
        request = httpx.Request("GET", "https://huggingface.co/x")
        raise GatedRepoError("gated", response=httpx.Response(403, request=request))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    with pytest.raises(ModelUnavailableError, match=r"is gated.*huggingface\.co/.*HF_TOKEN") as caught:
        find(text)
    assert caught.value.exit_code == 3


def test_damaged_weights_are_refused(
    find: Callable[[str], ResolvedModel], tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny_models["llama"][0], tmp_path / name))

    truncated = copy("truncated")
    shard = next(truncated.glob("model-00001-*"))
    shard.write_bytes(shard.read_bytes()[:1000])
    lacking = copy("lacking")
    next(lacking.glob("model-00001-*")).unlink()
    for path in (truncated, lacking):
        model = find(f"{path}@1")
        with pytest.raises(BridgeError, match=path.name):
            model.adapter.load(model.weights, CPU)
    broken = copy("broken")
    (broken / "config.json").write_text('{"model_type": "llama"')
    with pytest.raises(ModelError, match=r"config\.json is not a readable JSON"):
        find(f"{broken}@1")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (truncated / name).unlink()
    with pytest.raises(BridgeError, match="truncated"):
        model.adapter.tokenizer(Weights(str(truncated)))


def test_a_gguf_file_is_the_model_that_was_written(
    find: Callable[[str], ResolvedModel], tiny_models: Mapping[str, list[Path]], registry: Registry, tmp_path: Path
) -> None:
    checkpoint = tiny_models["llama"][0]
    gguf_files.write(tmp_path / "tiny.gguf", "llama", *gguf_files.llama_tensors(checkpoint), checkpoint)
    found = find(f"{tmp_path / 'tiny.gguf'}@1")
    original = registry.models["llama"].load(Weights(str(checkpoint)), CPU)
    loaded = found.adapter.load(found.weights, CPU)
    assert (found.adapter.name, type(loaded.module)) == ("llama", type(original.module))
    document = Document("the map between the models is a rotation: naïve 🙂", "")
    [ours], [theirs] = loaded.encode([document], 100), original.encode([document], 100)
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_array_equal(ours.ends, theirs.ends)
    ids, mask = pad([ours.ids])
    sites = [Site(1), Site(2, "attn_out")]
    for read, wanted in zip(loaded.activations(ids, mask, sites), original.activations(ids, mask, sites), strict=True):
        np.testing.assert_allclose(read.numpy(), wanted.numpy(), rtol=0, atol=1e-5 * float(wanted.abs().max()))
    stamp = (found.weights.folder / "config.json").stat().st_mtime_ns  # type: ignore[operator]
    again = find(f"{tmp_path / 'tiny.gguf'}@1")
    assert (again.weights.folder / "config.json").stat().st_mtime_ns == stamp, "unpacked once"  # type: ignore[operator]
    unpacked = next(again.weights.folder.glob("*.safetensors"))
    whole = unpacked.read_bytes()
    unpacked.write_bytes(whole[:-9] + b"?" + whole[-8:])
    find(f"{tmp_path / 'tiny.gguf'}@1")
    assert unpacked.read_bytes() == whole, "a damaged checkpoint is unpacked again"
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cut\.gguf cannot be read as GGUF"):
        find(f"{tmp_path / 'cut.gguf'}@1")
    (tmp_path / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "two" / name).touch()
    with pytest.raises(UsageError, match=r"several GGUF files \(a\.gguf, b\.gguf\)"):
        find(f"{tmp_path / 'two'}@1")


def test_a_layout_that_does_not_fit_is_refused_at_load(
    registry: Registry, tiny_models: Mapping[str, list[Path]]
) -> None:
    with pytest.raises(ModelError, match=r"no module transformer\.h\.0|GPT2|gpt2"):
        registry.models["gpt2"].load(Weights(str(tiny_models["llama"][0])), CPU)


def test_families_do_not_contend(registry: Registry, tiny_models: Mapping[str, list[Path]]) -> None:
    for family, paths in tiny_models.items():
        for path in paths:
            claims = {name for name, adapter in registry.models.items() if adapter.claims(Weights(str(path)))}
            assert claims == {family, "huggingface"}
    names = [alias.name for adapter in registry.models.values() for alias in adapter.aliases()]
    assert len(names) == len(set(names))
