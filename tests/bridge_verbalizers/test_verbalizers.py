"""Verbalizers that nothing was trained for, against plain loops, and on the toy, where what is true is known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bridge.corpus import Document
from bridge.errors import CorpusError, UsageError
from bridge.models import Placement
from bridge.pipeline.plan.gather import gather_model
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.plan.single import prepare_model
from bridge.pipeline.plan.specs import build
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.plugins import Registry
from bridge.references import Site
from bridge.testing import TinySubject, check_verbalizer
from bridge.verbalizers import Background, Blends, Passage, Subject, Verbalizer, Washout

CLOSING = {"(": ")", "[": "]", "{": "}"}
PROMPT = "cat -> cat; 1135 -> 1135; hello -> hello; ? ->"


def opened(registry: Registry, text: str, subject: Subject) -> Verbalizer:
    return build(text, registry.verbalizer).open(subject)


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[TinySubject, Any, Any]:
    """A tiny Llama as a subject, as transformers loads it, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    subject = TinySubject(registry.models["llama"], tmp_path_factory.mktemp("subject"))
    path = subject.name.partition("@")[0]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    # As transformers makes them, tiny models hardly attend, and their norms have no gains.
    noise = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "attn" in name or name == "model.norm.weight":
            torch.nn.init.normal_(weight, std=1.0 if weight.ndim == 1 else 0.5, generator=noise)
    model.save_pretrained(path)
    return subject, model, AutoTokenizer.from_pretrained(path)


def lens(model: Any, vectors: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return model.lm_head(model.model.norm(torch.from_numpy(vectors)))


def names(tokenizer: Any, ids: torch.Tensor, top: int) -> list[str]:
    texts = [text for token in ids.tolist() if (text := tokenizer.decode([token], skip_special_tokens=True))]
    return [json.dumps(text, ensure_ascii=False) for text in texts[:top]]


def test_logit_lens_is_the_final_norm_and_head(registry: Registry, tiny: tuple[TinySubject, Any, Any]) -> None:
    subject, model, tokenizer = tiny
    verbalizer = opened(registry, "logit_lens:top=4", subject)
    vectors, h = gaussian(40, subject.d_model), gaussian(subject.d_model, seed=1)

    def expected(logits: torch.Tensor) -> list[str]:
        orders = zip(logits.argsort(1, descending=True), logits.argsort(1), strict=True)
        sides = ([", ".join(names(tokenizer, ids, 4)) for ids in both] for both in orders)
        return [f"promotes: {up}; suppresses: {down}" for up, down in sides]

    assert [said.text for said in verbalizer.explain(vectors)] == expected(lens(model, vectors))
    assert [said.text for said in verbalizer.explain(1e-3 * vectors)] == [
        said.text for said in verbalizer.explain(1e3 * vectors)
    ]
    away = lens(model, h + 3 * vectors).log_softmax(-1) - 0.8 * lens(model, h[None]).log_softmax(-1)
    said = Washout("contrast", strength=3, beta=0.8).explain(verbalizer, vectors, Background(h, h[None]))
    assert [one.text for one in said] == expected(away)
    rows = gaussian(5, subject.d_model, seed=2)
    read = verbalizer.explain_blends(Blends(rows + vectors[:, None], rows))
    several = torch.stack([lens(model, row + vectors) for row in rows]).mean(0)
    assert [one.text for one in read] == expected(several)
    read_by = (model.lm_head.weight * model.model.norm.weight).detach()
    (said,) = verbalizer.explain((read_by[300] / read_by[300].norm()).numpy()[None])
    assert said.text.startswith(f"promotes: {json.dumps(tokenizer.decode([300]))}")


@pytest.mark.parametrize("family", ["dyck", "gemma", "gpt2", "huggingface", "pythia", "qwen"])
def test_every_family_has_a_verbalizer(family: str, registry: Registry, tmp_path: Path) -> None:
    subject = TinySubject(registry.models[family], tmp_path)
    vectors = gaussian(3, subject.d_model)
    vectors.flags.writeable = False
    for name in ("exemplars", "logit_lens", "patchscope:new_tokens=3"):
        verbalizer = opened(registry, name, subject)
        check_verbalizer(verbalizer)
        assert verbalizer.explain(vectors[::-1]) == verbalizer.explain(vectors)[::-1]


def test_biases_are_not_what_a_vector_says(registry: Registry, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    subject = TinySubject(registry.models["gpt2"], tmp_path)
    vectors, path = gaussian(9, subject.d_model), subject.name.partition("@")[0]
    without = opened(registry, "logit_lens", subject).explain(vectors)
    model = AutoModelForCausalLM.from_pretrained(path)
    torch.nn.init.normal_(model.transformer.ln_f.bias, std=9.0, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(path)
    verbalizer = opened(registry, "logit_lens", subject)
    assert verbalizer.explain(vectors) == without
    for said, turned in zip(without, verbalizer.explain(-vectors), strict=True):
        promoted, suppressed = said.text.removeprefix("promotes: ").split("; suppresses: ")
        assert turned.text == f"promotes: {suppressed}; suppresses: {promoted}"


def generate(
    model: Any, tokenizer: Any, layer: int, sides: Mapping[float, np.ndarray], new_tokens: int
) -> tuple[list[int], str]:
    """Decode from weighted sums of log-probabilities, one text at a time, with a hook that patches the prompt."""
    prompt = tokenizer(PROMPT, return_offsets_mapping=True)
    at = next(i for i, (_, end) in enumerate(prompt["offset_mapping"]) if end > PROMPT.index("?"))

    def log_probabilities(ids: list[int], vector: np.ndarray) -> torch.Tensor:
        def patch(module: Any, given: Any, out: torch.Tensor) -> torch.Tensor:
            out = out.clone()
            out[0, at] = torch.from_numpy(vector) / np.linalg.norm(vector) * out[0, at].norm()
            return out

        handle = model.model.layers[layer].register_forward_hook(patch)
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        handle.remove()
        return logits.log_softmax(-1)

    ids: list[int] = list(prompt["input_ids"])
    for _ in range(new_tokens):
        means = {
            weight: torch.stack([log_probabilities(ids, row) for row in rows]).mean(0) for weight, rows in sides.items()
        }
        chosen = sum(weight * mean for weight, mean in means.items())
        chosen[means[1.0] < means[1.0].max() + np.log(0.05)] = -torch.inf
        ids.append(int(chosen.argmax()))
    added = ids[len(prompt["input_ids"]) :]
    return added, re.split("[;\n]", tokenizer.decode(added, skip_special_tokens=True).strip())[0].strip()


@pytest.mark.parametrize(("asked", "layer"), [(0, 0), (1, 1), (2, 1), (9, 1)])
def test_patchscope_is_a_hook_on_the_prompt(
    asked: int, layer: int, registry: Registry, tiny: tuple[TinySubject, Any, Any]
) -> None:
    subject, model, tokenizer = tiny
    verbalizer = opened(registry, f"patchscope:layer={asked},new_tokens=5", subject)
    vectors, rows = gaussian(20, subject.d_model), gaussian(3, subject.d_model, seed=1)
    expected = [generate(model, tokenizer, layer, {1.0: row[None]}, 5) for row in vectors]
    said = verbalizer.explain(50 * vectors)
    assert [one.text for one in said] == [text for _, text in expected]
    assert [one.flags for one in said] == [() if text else ("empty",) for _, text in expected]
    assert len({tuple(ids) for ids, _ in expected}) > 3, "the model reads the vector"
    blends = Blends(rows + 2 * vectors[:, None], rows, beta=0.7)
    against = [generate(model, tokenizer, layer, {1.0: one, -0.7: rows}, 5)[1] for one in blends.vectors]
    assert [one.text for one in verbalizer.explain_blends(blends)] == against


def test_patchscope_stops_where_what_is_said_ends(registry: Registry, tiny: tuple[TinySubject, Any, Any]) -> None:
    subject, _, tokenizer = tiny
    said = {text: tokenizer(text)["input_ids"][0] for text in (";", "a", "b")}
    loaded = subject.load()
    passes: list[int] = []

    def saying(module: Any, args: Any, out: Any) -> Any:
        """Say `a;` of the first text, and `b` again and again of the others."""
        passes.append(len(out.logits))
        for row, one in enumerate(out.logits):
            word = "b" if row or len(out.logits) < 3 else "a" if len(passes) == 2 else ";"
            one[-1, said[word]] += 1000
        return out

    loaded.module.register_forward_hook(saying)
    subject.load = lambda: loaded  # type: ignore[method-assign]
    verbalizer = opened(registry, "patchscope:new_tokens=5", subject)
    assert [one.text for one in verbalizer.explain(gaussian(3, subject.d_model))] == ["a", "bbbbb", "bbbbb"]
    assert passes == [1, 3, 3, 2, 2, 2], "the prompt is read once up to the vectors, and no text after its end"


class Given(Subject):
    """Passages from memory, and no model."""

    name, site, n_layers, placement, seed = "given@1", Site(1), 2, Placement("cpu"), 0

    def __init__(self, passages: list[Passage], held_out: list[Passage] | None = None) -> None:
        self.d_model = 6
        self._given = {False: passages, True: held_out or []}

    def load(self) -> Any:
        raise AssertionError("no model is needed")

    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        return iter(self._given[held_out])


def words(texts: list[str], seed: int = 0) -> list[Passage]:
    """One row a word, far from zero as real ones are."""
    rng, mean = np.random.default_rng(seed), 50 * np.eye(6)[5]
    ends = [np.array([match.end() for match in re.finditer(r"\S+", text)]) for text in texts]
    rows = [(mean + rng.normal(size=(len(one), 6))).astype(np.float32) for one in ends]
    return [Passage(Document(text, text), end, x) for text, end, x in zip(texts, ends, rows, strict=True)]


def test_exemplars_are_the_rows_of_largest_projection(registry: Registry) -> None:
    texts = [" ".join(f"w{text}x{word}" for word in range(30)) for text in range(25)]
    passages = words(texts)
    verbalizer = opened(registry, "exemplars:top=4,width=6", Given(passages, words(["held out"] * 9, seed=1)))
    mean = np.concatenate([passage.x for passage in passages]).mean(0, dtype=np.float64)
    vectors = gaussian(30, 6)
    along = mean / np.linalg.norm(mean)
    expected = []
    for v in vectors - np.outer(vectors @ along, along):
        best = sorted(((passage.x - mean) @ v).max() for passage in passages)[-4:][::-1]
        places = [
            (i, int(((p.x - mean) @ v).argmax())) for b in best for i, p in enumerate(passages) if b in (p.x - mean) @ v
        ]
        expected.append([f"w{i}x{row}" for i, row in places])
    marked = [re.findall("«(.*?)»", said.text) for said in verbalizer.explain(vectors)]
    assert marked == expected
    alike = verbalizer.explain((mean + 7 * vectors).astype(np.float32))
    assert [said.text for said in alike] == [said.text for said in verbalizer.explain(vectors)]
    (nothing,) = verbalizer.explain(mean[None].astype(np.float32))
    assert nothing.text == "" and nothing.flags == ("empty",)


@pytest.mark.parametrize(
    ("text", "ends", "row", "said"),
    [
        ("one two three four five six seven", [3, 7, 13, 18], 2, "one two «three» four five"),
        ("one two three four five six seven", [18, 23], 0, "one two three «four» five six"),
        ("an international\n\nmatch today", [2, 8, 16, 18, 23], 2, "an inter«national» match today"),
        ("an international\n\nmatch today", [2, 8, 16, 18, 23], 3, "an international «»match today"),
        ("你好世界", [1, 1, 1, 2, 3, 4], 3, "你«好»世界"),
        ("([{}])", [1, 2, 3, 4, 5, 6], 5, "([{}]«)»"),
    ],
)
def test_excerpts_mark_the_token(registry: Registry, text: str, ends: list[int], row: int, said: str) -> None:
    x = np.zeros((len(ends), 6), np.float32)
    x[row, 0] = 1
    passages = [Passage(Document(text, text), np.array(ends), x)]
    (explanation,) = opened(registry, "exemplars:width=6", Given([*passages])).explain(np.eye(6, dtype=np.float32)[[1]])
    assert explanation.flags == ()
    other = Passage(Document("none", "none"), np.array([4]), np.full((1, 6), -1.0, np.float32))
    v = np.eye(6, dtype=np.float32)[[0]]
    assert opened(registry, "exemplars:width=6,top=1", Given([other, *passages])).explain(v)[0].text == said


@pytest.fixture
def dyck(isolated: Path) -> ModelSubject:
    runtime = open_runtime()
    _, plan = prepare_model(make_options(src="dyck:seed0@1", max_documents=300, device="cpu"), runtime)
    site = plan.side.model.single_site()
    return ModelSubject(plan, gather_model(plan, [site], runtime)[site], runtime)


def innermost(text: str) -> str:
    """The bracket that is open where a text ends, or an empty text."""
    stack: list[str] = []
    for bracket in text:
        if bracket in CLOSING:
            stack.append(bracket)
        elif not stack or CLOSING[stack.pop()] != bracket:
            return ""
    return stack[-1] if stack else ""


@pytest.mark.parametrize("bracket", CLOSING)
def test_on_the_toy_they_say_what_the_direction_is(bracket: str, registry: Registry, dyck: ModelSubject) -> None:
    total, count = np.zeros((2, 64)), np.zeros(2)
    for passage in dyck.passages():
        for end, x in zip(passage.ends, passage.x, strict=True):
            side = int(innermost(passage.document.text[:end]) == bracket)
            total[side] += x
            count[side] += 1
    whole = (total / count[:, None]).astype(np.float32)
    direction = whole[1] - whole[0]
    for vector in (direction, whole[1]):
        (said,) = opened(registry, "logit_lens:top=1", dyck).explain(vector[None])
        assert said.text.startswith(f'promotes: "{CLOSING[bracket]}"; suppresses: ')
    (said,) = opened(registry, "exemplars:top=8,width=100", dyck).explain(direction[None])
    seen = [excerpt.partition("»")[0].replace("«", "") for excerpt in said.text.split(" | ")]
    assert [innermost(text) for text in seen] == [bracket] * 8
    (said,) = opened(registry, "patchscope", dyck).explain(direction[None])
    assert bool(said.text) != ("empty" in said.flags)


@pytest.mark.parametrize(
    "text",
    ["logit_lens:top=0", "exemplars:width=0", "exemplars:top=0", "patchscope:layer=-1", "patchscope:new_tokens=0"],
)
def test_options_that_make_no_sense(text: str, registry: Registry) -> None:
    with pytest.raises(UsageError, match="or more"):
        opened(registry, text, Given(words(["some words"])))


def test_no_texts_no_exemplars(registry: Registry) -> None:
    with pytest.raises(CorpusError, match=r"no text for given@1"):
        opened(registry, "exemplars", Given([]))


def test_exemplars_say_which_washouts_they_take(registry: Registry) -> None:
    verbalizer = opened(registry, "exemplars", Given(words(["some words here"])))
    with pytest.raises(UsageError, match="Use the washout none, mean or blend"):
        Washout("contrast").explain(verbalizer, gaussian(1, 6), Background(np.ones(6, np.float32), gaussian(4, 6)))
