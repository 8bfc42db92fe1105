"""The `nla` verbalizer: equal to slow obvious ways, and firm against checkpoints that are not what they seem."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from bridge.errors import BridgeError, ModelError, ModelUnavailableError, ShapeError, UsageError
from bridge.models import Placement
from bridge.readers import Injection
from bridge.readers.answer import parse
from bridge.readers.body import decoder
from bridge.readers.decoding import Speaker, likeliest
from bridge.readers.loading import load_module, load_tokenizer
from bridge.readers.locate import fingerprint
from bridge.readers.prompt import placed
from bridge.references import Site
from bridge.testing import check_verbalizer
from bridge.verbalizers import Blends, Verbalizer, contrast_scores
from bridge_verbalizers.nla import NLA
from bridge_verbalizers.nla.layout import prompt_of
from bridge_verbalizers.nla.sidecar import read_sidecar
from nla_files import AR_TEMPLATE, CASES, CHAR, CHAT, TrainedSubject, tiny_nla, write_ar, write_av

CPU = Placement("cpu", "float32")
NEW = 7


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Slow:
    """An AV run without any cache: one row at a time, the whole text again for every token."""

    def __init__(self, folder: Path) -> None:
        self.sidecar = read_sidecar(folder, "av")
        self.tokenizer = load_tokenizer(folder).tokenizer
        self.module = load_module(folder, CPU)
        self.placed = placed(self.tokenizer, prompt_of(self.sidecar))
        self.prompt, self.at = self.placed.ids, self.placed.places[0]

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        weight = self.module.get_input_embeddings().weight
        gemma = self.module.config.model_type.startswith("gemma3")
        return weight[torch.tensor(ids)] * (math.sqrt(weight.shape[1]) if gemma else 1)

    def inputs(self, vector: np.ndarray, said: Sequence[int] = ()) -> torch.Tensor:
        embedded = self.embed([*self.prompt, *said])
        scale = self.sidecar.injection_scale
        embedded[self.at] = torch.tensor(vector) * (scale / np.linalg.norm(vector) if scale else 1)
        return embedded

    @torch.inference_mode()
    def log_probabilities(self, vector: np.ndarray, said: Sequence[int] = ()) -> torch.Tensor:
        out = self.module(inputs_embeds=self.inputs(vector, said)[None], use_cache=False)
        return out.logits[0, -1].log_softmax(0)

    def say(self, blends: np.ndarray, alone: np.ndarray, beta: float) -> list[int]:
        said: list[int] = []
        while len(said) < NEW:
            blended = torch.stack([self.log_probabilities(one, said) for one in blends]).mean(0)
            scores = blended.clone()
            if beta:
                scores -= beta * torch.stack([self.log_probabilities(one, said) for one in alone]).mean(0)
                scores[blended.exp() < 0.05 * blended.exp().max()] = -math.inf
            said.append(int(scores.argmax()))
        return said

    def vectors(self, x: np.ndarray) -> np.ndarray:
        scale = self.sidecar.injection_scale
        return x if scale is None else np.float32(scale) * x / np.linalg.norm(x, axis=-1, keepdims=True)


def until(said: list[int], end: int) -> list[int]:
    return said[: said.index(end)] if end in said else said


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def slow(case: str, tmp_path_factory: pytest.TempPathFactory) -> Slow:
    folder = tmp_path_factory.mktemp(case)
    write_av(folder / "av", case)
    found = Slow(folder / "av")
    assert type(found.module).__name__ == case
    return found


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    write_av(tmp_path / "av")
    write_ar(tmp_path / "ar")
    return tmp_path


def open_(folder: Path, d_model: int = 32, seed: int = 0, **options: Any) -> Verbalizer:
    return NLA(checkpoint=str(folder), **{"max_new_tokens": NEW} | options).open(TrainedSubject(d_model, seed))


def test_embeddings_and_logits_are_those_of_a_full_forward_pass(slow: Slow) -> None:
    vectors = draw(3, slow.sidecar.d_model)
    seen: list[torch.Tensor] = []
    hook = decoder(slow.module).register_forward_pre_hook(
        lambda _, args, given: seen.append(given["inputs_embeds"]), with_kwargs=True
    )
    scores: list[torch.Tensor] = []

    def choose(found: torch.Tensor, rows: Sequence[int]) -> list[int]:
        scores.append(found)
        return likeliest(found, rows)

    speaker = Speaker(slow.module, slow.placed, Injection(), [])
    speaker.say(Blends(slow.vectors(vectors)[:, None], vectors[:0]), 1, choose)
    hook.remove()
    prefix, rest = seen
    assert prefix.shape[:2] == (1, slow.at), "the prompt up to the vector is run for one row only"
    for row, vector in enumerate(vectors):
        torch.testing.assert_close(torch.cat([prefix[0], rest[row]]), slow.inputs(vector))
        torch.testing.assert_close(scores[0][row], slow.log_probabilities(vector), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("backgrounds", "beta"), [(1, 0.0), (3, 0.0), (1, 0.8), (2, 0.8)])
def test_tokens_are_those_of_slow_decoding(slow: Slow, backgrounds: int, beta: float) -> None:
    alone = draw(backgrounds, slow.sidecar.d_model, seed=1)
    blends = alone[None] + 2 * draw(8, 1, slow.sidecar.d_model)
    wanted = [slow.say(one, alone, beta) for one in blends]
    assert len(set(map(tuple, wanted))) > 1, "the vectors are meant to be heard"
    # Texts that end at different times: rows leave the batch while others go on.
    end = next(token for one in wanted for token in one if len({len(until(other, token)) for other in wanted}) > 1)
    given = Blends(slow.vectors(blends), slow.vectors(alone), beta)
    for stops, expected in (([], wanted), ([end], [until(one, end) for one in wanted])):
        assert Speaker(slow.module, slow.placed, Injection(), stops).say(given, NEW, likeliest) == expected


def test_contrast_takes_away_what_the_backgrounds_say(slow: Slow) -> None:
    alone = draw(1, slow.sidecar.d_model, seed=1)
    blends = alone[None] + draw(6, 1, slow.sidecar.d_model)
    speaker = Speaker(slow.module, slow.placed, Injection(), [])
    plain, contrast = (speaker.say(Blends(blends, alone, beta), NEW, likeliest) for beta in (0.0, 0.8))
    assert plain != contrast


def test_tokens_that_the_blends_find_implausible_are_never_chosen() -> None:
    blend, alone = torch.tensor([0.7, 0.26, 0.036, 0.004]).log(), torch.tensor([0.9, 0.09, 0.01 - 1e-9, 1e-9]).log()
    scores = contrast_scores(torch.stack([blend, alone])[None], 1, 0.8)[0]
    torch.testing.assert_close(scores[:3], (blend - 0.8 * alone)[:3])
    assert scores[3] == -math.inf, "under 5% of the best: the background expects it least, and it would win"
    assert contrast_scores(blend[None, None], 1, 0.0)[0].isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_one_background_without_contrast_is_plain_explaining(pair: Path, temperature: float) -> None:
    verbalizer = open_(pair, temperature=temperature)
    x = draw(5, 32)
    assert verbalizer.explain_blends(Blends(x[:, None], draw(1, 32))) == verbalizer.explain(x)


def test_it_keeps_the_laws(tmp_path: Path) -> None:
    check_verbalizer(tiny_nla(tmp_path))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_text_depends_on_neither_batch_nor_order(pair: Path, temperature: float) -> None:
    x = draw(7, 32)
    together = open_(pair, temperature=temperature).explain(x)
    assert len({one.text for one in together}) > 3, "the vectors are meant to be heard"
    assert open_(pair, temperature=temperature, batch=1).explain(x) == together
    assert open_(pair, temperature=temperature, batch=3).explain(x[::-1]) == together[::-1]
    blends = Blends(x[:, None] + draw(2, 32, seed=1), draw(2, 32, seed=1), 0.8)
    assert open_(pair, batch=5).explain_blends(blends) == open_(pair, batch=64).explain_blends(blends)


def test_seeds_change_samples_and_nothing_else(pair: Path) -> None:
    x = draw(5, 32)
    assert open_(pair, temperature=2.0, seed=1).explain(x) != open_(pair, temperature=2.0, seed=2).explain(x)
    assert open_(pair, seed=1).explain(x) == open_(pair, seed=2).explain(x)


def test_several_samples_are_several_texts_of_one_vector(pair: Path) -> None:
    x = draw(5, 32)
    one, three = (open_(pair, temperature=2.0, samples=samples).explain(x) for samples in (1, 3))
    for first, all_of_them in zip(one, three, strict=True):
        assert len(all_of_them.text) > len(first.text)
        assert all_of_them.text.startswith(first.text)
        assert set(first.flags) <= set(all_of_them.flags)
    assert open_(pair, temperature=2.0, samples=3, batch=2).explain(x[::-1]) == three[::-1]


def test_both_generations_of_sidecars_mean_the_same(pair: Path, tmp_path: Path) -> None:
    write_av(tmp_path / "old" / "av", older=True)
    write_ar(tmp_path / "old" / "ar", older=True)
    new, old = open_(pair), open_(tmp_path / "old")
    assert new.explain(draw(3, 32)) == old.explain(draw(3, 32))
    np.testing.assert_array_equal(new.reconstruct(["a map"]), old.reconstruct(["a map"]))


@pytest.mark.parametrize(
    ("scale", "length"), [(150, 150.0), ("sqrt_d_model", 32**0.5), ("raw", None), ("none", None), ("12.5", 12.5)]
)
def test_scales_in_every_spelling(tmp_path: Path, scale: Any, length: float | None) -> None:
    write_av(tmp_path, scale=scale)
    assert read_sidecar(tmp_path, "av").injection_scale == length
    same = [one.text for one in open_(tmp_path).explain(np.stack([draw(32), draw(32) / 1000]))]
    assert (same[0] == same[1]) == (length is not None)


def test_a_missing_scale_is_refused_as_the_released_client_does(pair: Path) -> None:
    edit(pair / "av", lambda data: data["extraction"].update(injection_scale=None))
    with pytest.raises(BridgeError, match=r"extraction\.injection_scale is missing or null.*or raw for vectors"):
        open_(pair)
    edit(pair / "av", lambda data: data["extraction"].pop("injection_scale"))
    with pytest.raises(BridgeError, match=r"extraction\.injection_scale is missing.*released client refuses"):
        open_(pair)
    edit(pair / "av", lambda data: data.pop("extraction"))
    with pytest.raises(BridgeError, match="injection_scale is missing"):
        NLA(checkpoint=str(pair)).preview(32)
    # An AR injects nothing.
    edit(pair / "ar", lambda data: data["extraction"].pop("injection_scale"))
    assert read_sidecar(pair / "ar", "ar").d_model == 32


@pytest.mark.parametrize(("role", "older"), [("av", "actor"), ("ar", "critic")])
def test_the_newer_keys_win_wherever_they_stand(role: Any, older: str, pair: Path) -> None:
    path = pair / role / "nla_meta.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    wanted = data["prompt_templates"][role]
    for templates in ({role: wanted, older: f"old {wanted}"}, {older: f"old {wanted}", role: wanted}):
        text = yaml.safe_dump(data | {"prompt_templates": templates}, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        assert read_sidecar(pair / role, role).template == wanted, text


PLACES: dict[str, Callable[[dict[str, Any], int], Any]] = {
    "extraction.layer_index": lambda data, k: data["extraction"].update(layer_index=k),
    "extraction_layer_index": lambda data, k: data.update(extraction_layer_index=k),
    "critic.extraction_layer_index": lambda data, k: data.update(critic={"extraction_layer_index": k}),
    "critic.num_hidden_layers": lambda data, k: data.update(critic={"num_hidden_layers": k}),
    "ar.num_hidden_layers": lambda data, k: data.update(ar={"num_hidden_layers": k}),
    "ar over critic": lambda data, k: data.update(critic={"num_hidden_layers": 0}, ar={"num_hidden_layers": k}),
}


@pytest.mark.parametrize("place", PLACES)
def test_another_layer_is_refused_wherever_the_sidecar_names_it(place: str, tmp_path: Path) -> None:
    width = write_av(tmp_path)
    for layer, fits in ((1, True), (2, False), (40, False)):
        edit(tmp_path, lambda data, layer=layer: PLACES[place](data, layer))
        kind = NLA(checkpoint=str(tmp_path))
        assert kind.trained_at() == str(layer)
        if fits:
            kind.open(TrainedSubject(width))
            continue
        with pytest.raises(BridgeError, match=f"trained on vectors of the site {layer}, and these are of 1"):
            kind.open(TrainedSubject(width))
        NLA(checkpoint=str(tmp_path), any_site=True).open(TrainedSubject(width))


def test_layers_that_contradict_each_other_are_refused(pair: Path) -> None:
    edit(pair / "av", lambda data: data.update(extraction_layer_index=2, critic={"num_hidden_layers": 1}))
    with pytest.raises(BridgeError, match=r"several layers: extraction_layer_index 2, critic\.num_hidden_layers 1"):
        open_(pair)
    edit(pair / "av", lambda data: data.update(extraction_layer_index=2, critic={}))
    with pytest.raises(BridgeError, match="AV and AR have different sites"):
        open_(pair)


def test_sites_that_are_no_block_s_output(tmp_path: Path) -> None:
    width = write_av(tmp_path)
    subject = TrainedSubject(width)
    for extraction, site, fits in (
        ({"layer_index": 1}, Site(2, "resid_pre"), True),
        ({"layer_index": 1}, Site(1, "resid_pre"), False),
        ({"layer_index": 1}, Site(1, "attn_out"), False),
        ({"layer_index": 1, "point": "attn_out"}, Site(1, "attn_out"), True),
        ({"layer_index": 1, "point": "resid_post"}, Site(1), True),
    ):
        edit(tmp_path, lambda data, found=extraction: data.update(extraction={"injection_scale": 3.0} | found))
        subject.site = site
        if fits:
            NLA(checkpoint=str(tmp_path)).open(subject)
        else:
            with pytest.raises(BridgeError, match="trained on vectors of the site"):
                NLA(checkpoint=str(tmp_path)).open(subject)
    # As earlier versions wrote it: the point stands in the record of the training alone.
    edit(tmp_path, lambda data: data.update(training={"subject": "./model@1.attn_out"}))
    edit(tmp_path, lambda data: data["extraction"].pop("point"))
    assert NLA(checkpoint=str(tmp_path)).trained_at() == "1.attn_out"


def test_tokenizers_of_checkpoints_are_read_as_models_are(pair: Path) -> None:
    """BPE dropout is switched off, and an EOS that the tokenizer appends is neither read at nor gone past."""
    words = ["the map between the models", "a rotation of the residual stream"]
    wanted, said = open_(pair).reconstruct(words), open_(pair).explain(draw(3, 32))
    for role in ("av", "ar"):
        path = pair / role / "tokenizer.json"
        state = json.loads(path.read_text(encoding="utf-8"))
        eos = next(one["id"] for one in state["added_tokens"] if one["content"] == "<eos>")
        begin = (state.get("post_processor") or {}).get("single", [{"Sequence": {"id": "A", "type_id": 0}}])
        special = (state.get("post_processor") or {}).get("special_tokens", {})
        special |= {"<eos>": {"id": "<eos>", "ids": [eos], "tokens": ["<eos>"]}}
        pieces = [*begin, {"SpecialToken": {"id": "<eos>", "type_id": 0}}]
        state["post_processor"] = {
            "type": "TemplateProcessing",
            "single": pieces,
            "pair": [],
            "special_tokens": special,
        }
        state["post_processor"]["pair"] = [*pieces, {"Sequence": {"id": "B", "type_id": 1}}]
        state["model"]["dropout"] = 0.9
        path.write_text(json.dumps(state), encoding="utf-8")
    from transformers import AutoTokenizer

    raw = AutoTokenizer.from_pretrained(pair / "ar")
    assert raw("the map")["input_ids"][-1] == raw.eos_token_id
    assert len({tuple(raw("the map between the models")["input_ids"]) for _ in range(20)}) > 1
    np.testing.assert_array_equal(open_(pair).reconstruct(words), wanted)
    assert open_(pair).explain(draw(3, 32)) == said


@pytest.mark.parametrize("bare", [True, False])
def test_reconstructions_are_those_of_one_text_at_a_time(case: str, bare: bool, tmp_path: Path) -> None:
    width = write_av(tmp_path / "av", case)
    write_ar(tmp_path / "ar", case, bare=bare)
    texts = ["the map", "a rotation of the residual stream between the models", "", "x", "naïve 🙂 你好"]
    module, tokenizer = (
        load_module(tmp_path / "ar", CPU, ("norm.weight", "lm_head.weight")),
        load_tokenizer(tmp_path / "ar").tokenizer,
    )
    head = load_file(tmp_path / "ar" / "value_head.safetensors")["weight"]
    seen: list[torch.Tensor] = []
    decoder(module).layers[-1].register_forward_hook(lambda _, args, out: seen.append(out))
    for text in texts:
        ids = tokenizer(AR_TEMPLATE.replace("{explanation}", text))["input_ids"]
        assert (ids[0] == tokenizer.bos_token_id) == case.startswith("Gemma"), "with BOS where the family has one"
        module(torch.tensor([ids]), use_cache=False)
    wanted = (torch.cat([one[0, -1:].detach() for one in seen]) @ head.T).numpy()
    verbalizer = open_(tmp_path, width, batch=2)
    assert verbalizer.reconstructs
    found = verbalizer.reconstruct(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert verbalizer.reconstruct([]).shape == (0, width)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_where_halves_may_lie(pair: Path, dtype: str) -> None:
    alone = open_(pair / "av")
    assert not alone.reconstructs
    with pytest.raises(BridgeError, match=r"has no activation reconstructor.*bridge verbalizer train"):
        alone.reconstruct(["a text"])
    apart = open_(pair / "av", ar=str(pair / "ar"))
    assert apart.explain(draw(2, 32)) == alone.explain(draw(2, 32))
    assert open_(pair / "av", ar=str(pair)).reconstruct(["a text"]).shape == (1, 32)
    subject = TrainedSubject(32)
    subject.placement = Placement("cpu", dtype)
    small = NLA(checkpoint=str(pair), max_new_tokens=3).open(subject)
    assert len(small.explain(draw(2, 32))) == 2 and small.reconstruct(["a text"]).dtype == np.float32


def test_hub_checkpoints_put_there_by_hand(
    pair: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(ModelUnavailableError, match="user/some-av are not on this machine"):
        NLA(checkpoint="hub:user/some-av").open(TrainedSubject(32))
    folder = tmp_path_factory.mktemp("models")
    (folder / "user").mkdir()
    (folder / "user" / "some-av").symlink_to(pair)
    monkeypatch.setenv("BRIDGE_MODELS_DIR", str(folder))
    assert NLA(checkpoint="hub:user/some-av").open(TrainedSubject(32)).reconstructs


@pytest.mark.parametrize(
    ("written", "text", "flags"),
    [
        ("<explanation>\n a map \n</explanation>", "a map", ()),
        ("well: <explanation>a map</explanation> and <explanation>more</explanation>", "a map", ()),
        ("<explanation>\na ma", "a ma", ("truncated",)),
        ("<explanation>\na map\n</explanatio", "a map", ("truncated",)),
        (" a map ", "a map", ("untagged",)),
        ("<explanation>\n</explanation>", "", ("empty",)),
        ("", "", ("untagged", "empty")),
        ("<explanation>这是一个汉字 CJK</explanation>", "这是一个汉字 CJK", ("foreign_script",)),
        ("<explanation>the symbol ㈎ alone</explanation>", "the symbol ㈎ alone", ("foreign_script",)),
        ("<explanation>a Chinese character, 祝</explanation>", "a Chinese character, 祝", ("foreign_script",)),
        ("<explanation>Beijing (北京) in winter</explanation>", "Beijing (北京) in winter", ()),
    ],
)
def test_texts_are_parsed_and_flagged(written: str, text: str, flags: tuple[str, ...]) -> None:
    found = parse(written, CHAR)
    assert (found.text, found.flags) == (text, flags)


def test_a_home_made_injection_character_may_stand_in_english() -> None:
    assert parse("<explanation>under § 3 of the law</explanation>", "§").flags == ()


def test_what_cannot_be_explained_is_refused(pair: Path) -> None:
    verbalizer = open_(pair)
    for bad, said in ((np.zeros(32), "zero"), (np.full(32, np.nan), "NaN or inf"), (np.full(32, np.inf), "NaN or inf")):
        x = np.stack([draw(32), bad.astype(np.float32)])
        with pytest.raises(BridgeError, match=f" 1 of .*{said}"):
            verbalizer.explain(x)
        with pytest.raises(BridgeError, match=f" 1 of .*{said}"):
            verbalizer.explain_blends(Blends(x[None], draw(2, 32)))
        with pytest.raises(BridgeError, match=f" 1 of .*{said}"):
            verbalizer.explain_blends(Blends(draw(3, 2, 32), x, 0.8))
    blends = [(draw(3, 1, 31), draw(1, 31)), (draw(3, 1, 32), draw(1, 31)), (draw(3, 2, 32), draw(1, 32))]
    for vectors, alone in [*blends, (draw(3, 0, 32), draw(0, 32)), (draw(3, 32), draw(1, 32))]:
        with pytest.raises(ShapeError):
            verbalizer.explain_blends(Blends(vectors, alone))
    long_and_short = np.stack([draw(32) * np.float32(1e30), draw(32) * np.float32(1e-30)])
    assert verbalizer.explain(long_and_short) == verbalizer.explain(np.stack([draw(32), draw(32)]))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "nla_meta.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def other_chat(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def other_tokenizer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder).tokenizer
    tokenizer.add_tokens(["<concept>" + CHAR, "concept"])
    tokenizer.save_pretrained(folder)


def swap(folder: Path) -> None:
    for old, new in (("av", "x"), ("ar", "av"), ("x", "ar")):
        (folder / old).rename(folder / new)


def tokens(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "av", lambda data: data["tokens"].update(changes))


def sidecar(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "av" / "nla_meta.yaml").write_text(text)


AV_SPOILERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "moved injection token": (tokens(injection_token_id=7), "splits '㈎' into .* it is the one token 7"),
    "left neighbour": (tokens(injection_left_neighbor_id=5), "1 times, first in .* the sidecar says once"),
    "right neighbour": (tokens(injection_right_neighbor_id=5), "occurs in the prompt 1 times"),
    "character of several tokens": (tokens(injection_char="㊗"), "splits '㊗' into"),
    "no character": (tokens(injection_char=""), "tokens.injection_char is missing"),
    "drifted prompt": (
        lambda f: edit(f / "av", lambda d: d["prompt_templates"].update(av="see {injection_char} here")),
        "occurs in the prompt 1 times",
    ),
    "prompt without a hole": (
        lambda f: edit(f / "av", lambda d: d["prompt_templates"].update(av="see here")),
        "has not .injection_char. once",
    ),
    "prompt with a format": (
        lambda f: edit(f / "av", lambda d: d["prompt_templates"].update(av="{{x}} {injection_char}")),
        "no other braces",
    ),
    "prompt that says it twice": (
        lambda f: other_chat(f / "av", CHAT.replace("<model>", "{{ messages[0]['content'] }}")),
        "2 times",
    ),
    "marker twice, once with the right neighbours": (
        lambda f: other_chat(f / "av", CHAT.replace("<model>", f"{CHAR}<model>")),
        "occurs in the prompt 2 times",
    ),
    "chat template without content": (lambda f: other_chat(f / "av", "hello"), "occurs in the prompt not at all"),
    "chat template that fails": (
        lambda f: other_chat(f / "av", "{{ raise_exception('no') }}"),
        "failed on the prompt",
    ),
    "no chat template": (lambda f: (f / "av" / "chat_template.jinja").unlink(), "failed on the prompt"),
    "wrong tokenizer": (lambda f: other_tokenizer(f / "av"), "occurs in the prompt|splits"),
    "no tokenizer": (lambda f: [p.unlink() for p in (f / "av").glob("tokenizer*")], "cannot be loaded"),
    "no sidecar": (lambda f: (f / "av" / "nla_meta.yaml").unlink(), "holds no nla_meta.yaml.*verbalizer train"),
    "no YAML": (sidecar("{kind: ["), "cannot be used"),
    "no mapping": (sidecar("- 1"), "it is no mapping"),
    "odd role": (lambda f: edit(f / "av", lambda d: d.update(role=["av"])), "cannot be used"),
    "objects in YAML": (sidecar("!!python/object/apply:os.getcwd []"), "cannot be used"),
    "negative scale": (lambda f: edit(f / "av", lambda d: d["extraction"].update(injection_scale=-1)), "not positive"),
    "infinite scale": (lambda f: edit(f / "av", lambda d: d["extraction"].update(injection_scale=math.inf)), "finite"),
    "whitened vectors": (
        lambda f: edit(f / "av", lambda d: d["extraction"].update(norm="whitened_zca_v1")),
        "it says extraction.norm: whitened_zca_v1",
    ),
    "whitening beside": (lambda f: edit(f / "av", lambda d: d.update(whitening={"sha": "a"})), "it says whitening"),
    "halves swapped": (swap, "is the AR half of an autoencoder, not the AV half.*swapped"),
    "AR without a sidecar": (lambda f: (f / "ar" / "nla_meta.yaml").unlink(), "holds no nla_meta.yaml"),
    "AR of another width": (lambda f: edit(f / "ar", lambda d: d.update(d_model=48)), "48 dimensions.*have 32"),
    "AV of another width": (lambda f: edit(f / "av", lambda d: d.update(d_model=48)), "48 dimensions.*have 32"),
    "weights cut short": (lambda f: cut(f / "av" / "model.safetensors"), "cannot be loaded"),
    "no weights": (lambda f: (f / "av" / "model.safetensors").unlink(), "cannot be loaded"),
    "weights missing": (
        lambda f: edit_weights(f / "av" / "model.safetensors", lambda w: w.pop("model.layers.1.mlp.up_proj.weight")),
        "lacks model.layers.1.mlp.up_proj.weight",
    ),
    "no final norm": (
        lambda f: edit_weights(f / "av" / "model.safetensors", lambda w: w.pop("model.norm.weight")),
        "lacks model.norm.weight",
    ),
    "no configuration": (lambda f: (f / "av" / "config.json").unlink(), "cannot be loaded"),
}


def asked(folder: Path, d_model: int = 32) -> None:
    """Open a checkpoint and ask it once: weights are loaded when they are needed."""
    open_(folder, d_model).explain(draw(1, d_model))


@pytest.mark.parametrize("name", AV_SPOILERS)
def test_spoilt_checkpoints_are_refused(name: str, pair: Path) -> None:
    spoil, said = AV_SPOILERS[name]
    asked(pair)
    spoil(pair)
    with pytest.raises(BridgeError, match=f"(?s){said}"):
        asked(pair)


def test_a_multimodal_checkpoint_may_lack_its_eyes(tmp_path: Path) -> None:
    width = write_av(tmp_path, "Gemma3ForConditionalGeneration")
    wanted = open_(tmp_path, width).explain(draw(3, width))

    def blind(weights: dict[str, torch.Tensor]) -> None:
        seeing = [name for name in weights if "vision_tower" in name or "multi_modal_projector" in name]
        assert [weights.pop(name) for name in seeing]

    edit_weights(tmp_path / "model.safetensors", blind)
    assert open_(tmp_path, width).explain(draw(3, width)) == wanted


def test_an_av_of_other_weights_than_its_sidecar_says_is_refused(tmp_path: Path) -> None:
    write_av(tmp_path)
    edit(tmp_path, lambda data: data.update(d_model=48))
    with pytest.raises(BridgeError, match="in 32 dimensions; the sidecar says 48"):
        asked(tmp_path, 48)
    with pytest.raises(ShapeError, match="48 dimensions; vectors of tiny@1 have 32"):
        open_(tmp_path, 32)


AR_SPOILERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no head": (lambda ar: (ar / "value_head.safetensors").unlink(), "value_head.safetensors cannot be read"),
    "head cut short": (lambda ar: cut(ar / "value_head.safetensors"), "value_head.safetensors cannot be read"),
    "head of another width": (
        lambda ar: save_file({"weight": torch.ones(3, 32)}, ar / "value_head.safetensors"),
        r"not one \(32, 32\) matrix",
    ),
    "heads": (
        lambda ar: save_file({"a": torch.ones(32, 32), "b": torch.ones(32, 32)}, ar / "value_head.safetensors"),
        r"not one \(32, 32\) matrix",
    ),
    "another suffix": (
        lambda ar: edit(ar, lambda d: d["tokens"].update(critic_suffix_ids=[1, 2])),
        r"ends with the tokens .* the sidecar says \[1, 2\]",
    ),
    "another layer": (
        lambda ar: edit(ar, lambda d: d["extraction"].update(layer_index=0)),
        "2 blocks; the AR of block 0",
    ),
    "weights missing": (
        lambda ar: edit_weights(ar / "model.safetensors", lambda w: w.pop("model.layers.1.mlp.up_proj.weight")),
        "lacks model.layers.1.mlp.up_proj.weight",
    ),
    "configured deeper": (
        lambda ar: edit_json(ar / "config.json", num_hidden_layers=3),
        "lacks model.layers.2",
    ),
    "weights cut short": (lambda ar: cut(ar / "model.safetensors"), "cannot be loaded"),
}


@pytest.mark.parametrize("name", AR_SPOILERS)
def test_spoilt_reconstructors_are_refused(name: str, pair: Path) -> None:
    spoil, said = AR_SPOILERS[name]
    spoil(pair / "ar")
    verbalizer = open_(pair, any_site=True)  # otherwise the site that another layer's AR names is refused first
    assert verbalizer.explain(draw(1, 32))
    with pytest.raises(BridgeError, match=said):
        verbalizer.reconstruct(["a text"])


def test_a_head_may_have_any_name(pair: Path) -> None:
    wanted = open_(pair).reconstruct(["a map"])
    head = load_file(pair / "ar" / "value_head.safetensors")["weight"]
    save_file({"value_head": head}, pair / "ar" / "value_head.safetensors")
    np.testing.assert_array_equal(open_(pair).reconstruct(["a map"]), wanted)


def test_nothing_of_a_checkpoint_is_run(pair: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (pair / "av" / "evil.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom transformers import LlamaForCausalLM as Evil\n"
    )
    edit_json(pair / "av" / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"}, model_type="evil")
    with pytest.raises(BridgeError):
        asked(pair)

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(ran), "w")

    write_av(tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save({"x": Evil()}, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ModelError):
        asked(tmp_path / "pickled")
    assert not ran.exists()


def test_what_is_asked_must_make_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a checkpoint"):
        NLA().open(TrainedSubject(32))
    with pytest.raises(BridgeError, match=r"no folder .*verbalizer train --model tiny@1 --out"):
        NLA(checkpoint=str(tmp_path / "none")).open(TrainedSubject(32))
    wrongs: list[dict[str, Any]] = [
        *({"batch": -1}, {"max_new_tokens": 0}, {"temperature": -1.0}, {"temperature": math.nan}),
        *({"samples": 0}, {"samples": 2}),
    ]
    write_av(tmp_path / "av")
    for wrong in wrongs:
        with pytest.raises(UsageError, match="cannot have"):
            NLA(checkpoint=str(tmp_path / "av"), **wrong).open(TrainedSubject(32))


def test_a_tilde_is_the_home_folder(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pair))
    assert NLA(checkpoint="~/av", max_new_tokens=1).open(TrainedSubject(32)).explain(draw(1, 32))


def test_a_checkpoint_that_was_just_written_keeps_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    first, now = fingerprint(tmp_path), time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**10)
    assert fingerprint(tmp_path) == first, "or all that it explained would be explained again"
    (tmp_path / "config.json").write_text("[]")
    assert fingerprint(tmp_path) != first
