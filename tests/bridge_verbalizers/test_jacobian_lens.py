"""The Jacobian lens against dense Jacobians, finite differences and the logit lens; its files, fits and refusals."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bridge
from bridge.cli import main
from bridge.errors import BridgeError, UsageError
from bridge.models import LoadedModel, Placement, Weights
from bridge.plugins import Registry
from bridge.progress import Advance, Progress
from bridge.references import Site
from bridge.testing import TinySubject, check_verbalizer
from bridge_verbalizers.jacobian_lens import JacobianLens
from bridge_verbalizers.jacobian_lens.estimator import Estimator

SKIP, TOKENS = 5, 24
FAMILIES = ("llama", "gemma", "gemma2", "gpt2", "gpt_neo", "pythia", "phi", "qwen3", "mistral", "olmo2", "dyck")

Jacobians = dict[int, np.ndarray]


def text(count: int = TOKENS) -> np.ndarray:
    # The smallest vocabulary, that of the toy, has eight tokens.
    return np.random.default_rng(0).integers(0, 8, count)


def load(registry: Registry, family: str, path: Path) -> LoadedModel:
    return registry.models[family].load(Weights(str(path)), Placement("cpu", "float32"))


def estimate(model: LoadedModel, layers: tuple[int, ...], memory: int = 10**9) -> Jacobians:
    told: list[int] = []
    found = Estimator(model, layers, SKIP, memory).jacobians(text(), told.append)
    assert sum(told) == model.d_model
    return found


def plain(model: LoadedModel, layers: tuple[int, ...]) -> Jacobians:
    """One gradient an output dimension, on the whole text at once: the rule as it is written down."""
    tape = model.tape(text(), [Site(layer) for layer in (*layers, model.n_layers - 1)])
    target, found = tape.values[Site(model.n_layers - 1)], {layer: [] for layer in layers}
    for dimension in range(model.d_model):
        cotangent = torch.zeros_like(target)
        cotangent[:, SKIP:-1, dimension] = 1
        sources = [tape.values[Site(layer)] for layer in layers]
        gradients = torch.autograd.grad(target, sources, cotangent, retain_graph=True)
        for layer, gradient in zip(layers, gradients, strict=True):
            found[layer].append(gradient[0, SKIP:-1].mean(0))
    return {layer: torch.stack(rows).numpy() for layer, rows in found.items()}


@pytest.fixture(scope="module")
def attentive(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, LoadedModel]:
    """A tiny Llama that attends, as transformers loads it and as bridge does."""
    from transformers import AutoModelForCausalLM

    path = registry.models["llama"].write_tiny_checkpoints(tmp_path_factory.mktemp("attentive"))[0]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    noise = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "embed" not in name:
            torch.nn.init.normal_(weight, std=0.3, generator=noise)
    model.save_pretrained(path)
    return model, load(registry, "llama", path)


def rest_of(model: Any, layer: int) -> Any:
    """Return the function from the stream after a block, (tokens, width), to the stream after the last one."""
    ids = torch.from_numpy(text())[None]

    def run(stream: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = []
        replaced = model.model.layers[layer].register_forward_hook(lambda *_: stream[None])
        watched = model.model.layers[-1].register_forward_hook(lambda _, args, output: kept.append(output))
        try:
            model(ids)
        finally:
            replaced.remove()
            watched.remove()
        return kept[0][0]

    return run


def stream_after(model: Any, layer: int) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.from_numpy(text())[None], output_hidden_states=True).hidden_states[layer + 1][0]


@pytest.mark.parametrize("memory", [10**9, 10**4])
def test_it_is_the_mean_of_the_dense_jacobian(attentive: tuple[Any, LoadedModel], memory: int) -> None:
    model, loaded = attentive
    found = estimate(loaded, (0, 1), memory)
    for layer in (0, 1):
        # (target tokens, target width, source tokens, source width): summed over targets, averaged over sources.
        dense = torch.autograd.functional.jacobian(rest_of(model, layer), stream_after(model, layer))
        expected = dense[SKIP:-1].sum(0)[:, SKIP:-1].mean(1).numpy()
        assert np.abs(expected - np.eye(len(expected))).max() > 0.1  # what blocks and attention add is seen
        np.testing.assert_allclose(found[layer], expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


def test_it_agrees_with_finite_differences(attentive: tuple[Any, LoadedModel]) -> None:
    import copy

    model, loaded = attentive
    exact = copy.deepcopy(model).double()
    stream, run = stream_after(exact, 0), rest_of(exact, 0)
    # Norms and softmax are computed in float32 even here.
    columns, step = (0, 21), 1e-2
    for column in columns:
        total = torch.zeros(loaded.d_model, dtype=torch.float64)
        for position in range(SKIP, TOKENS - 1):
            nudge = torch.zeros_like(stream)
            nudge[position, column] = step
            with torch.no_grad():
                total += (run(stream + nudge) - run(stream - nudge))[SKIP:-1].sum(0) / (2 * step)
        expected = (total / (TOKENS - 1 - SKIP)).numpy()
        found = estimate(loaded, (0,))[0][:, column]
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_its_own_gradients(
    registry: Registry, tiny_models: Mapping[str, list[Path]], family: str
) -> None:
    for path in tiny_models[family]:
        model = load(registry, family, path)
        layers = tuple(range(model.n_layers - 1))
        expected, found = plain(model, layers), estimate(model, layers)
        for layer in layers:
            np.testing.assert_allclose(found[layer], expected[layer], atol=1e-5 * np.abs(expected[layer]).max(), rtol=0)


def test_what_later_blocks_read_past_the_stream_is_taken_through_the_whole_graph(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks 2 and 3 read the keys and values of block 1: block by block, their share would be lost."""
    from transformers import Gemma4ForCausalLM, Gemma4TextConfig

    from bridge_verbalizers.jacobian_lens import estimator

    config = Gemma4TextConfig(
        **{"vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "head_dim": 16},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "global_head_dim": 16, "pad_token_id": 1},
        **{"vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2},
        layer_types=["sliding_attention", "full_attention"] * 2,
    )
    torch.manual_seed(0)
    template = registry.models["llama"].write_tiny_checkpoints(tmp_path / "template")[0]
    Gemma4ForCausalLM(config).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_bytes((template / name).read_bytes())
    model = load(registry, "huggingface", tmp_path / "model")
    taken: list[int] = []
    whole = estimator._whole
    monkeypatch.setattr(estimator, "_whole", lambda *given: taken.append(1) or whole(*given))
    found, expected = estimate(model, (0, 1, 2)), plain(model, (0, 1, 2))
    assert taken == [1]
    for layer in (0, 1, 2):
        np.testing.assert_allclose(found[layer], expected[layer], atol=1e-5 * np.abs(expected[layer]).max(), rtol=0)


def explained(lens: JacobianLens | Any, subject: TinySubject, vectors: np.ndarray) -> list[str]:
    return [one.text for one in lens.open(subject).explain(vectors)]


@pytest.fixture(scope="module")
def subject(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> TinySubject:
    return TinySubject(registry.models["llama"], tmp_path_factory.mktemp("subject"))


def pt_file(path: Path, document: Any) -> Path:
    torch.save(document, path)
    return path


def matrices(subject: TinySubject, layers: tuple[int, ...]) -> dict[int, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    return {one: torch.randn(subject.d_model, subject.d_model, generator=noise).half() for one in layers}


def test_at_the_last_block_it_is_the_logit_lens(registry: Registry, subject: TinySubject, tmp_path: Path) -> None:
    file = pt_file(tmp_path / "lens.pt", {"J": matrices(subject, (0, 1)), "n_prompts": 3})
    last = _at(subject, subject.n_layers - 1)
    vectors = np.random.default_rng(0).normal(size=(20, subject.d_model)).astype(np.float32)
    logit_lens = registry.verbalizers["logit_lens"]()
    expected = explained(logit_lens, last, vectors)
    assert explained(JacobianLens(str(file)), last, vectors) == expected
    # The estimator itself gives the identity there, bit for bit; and a lens that holds it says the same.
    fitted = estimate(subject.load(), (0, subject.n_layers - 1))
    assert (fitted[subject.n_layers - 1] == np.eye(subject.d_model)).all()
    identity = {subject.site.layer: torch.eye(subject.d_model)}
    same = pt_file(tmp_path / "identity.pt", {"J": identity})
    assert explained(JacobianLens(str(same)), subject, vectors) == expected


def _at(subject: TinySubject, layer: int) -> TinySubject:
    import copy

    other = copy.copy(subject)
    other.site = Site(layer)
    return other


def test_the_forms_of_released_files_are_read_alike(registry: Registry, subject: TinySubject, tmp_path: Path) -> None:
    layer = subject.site.layer
    by_layer = matrices(subject, (0, layer))
    layers, stacked = sorted(by_layer), torch.stack([by_layer[one] for one in sorted(by_layer)])
    forms: list[dict[Any, Any]] = [
        {"J": by_layer, "n_prompts": 5, "source_layers": layers, "d_model": subject.d_model},
        {"jacobians": by_layer, "n_prompts": 5, "d_model": subject.d_model},
        {"J": {str(one): matrix for one, matrix in by_layer.items()}, "source_layers": layers},
        {"J": stacked, "source_layers": layers},
        {"J": by_layer, "provenance": {"capture_point": "block_output", "target_layer": subject.n_layers - 1}},
    ]
    vectors = np.random.default_rng(0).normal(size=(6, subject.d_model)).astype(np.float32)
    carried = vectors @ by_layer[layer].float().numpy().T
    expected = explained(registry.verbalizers["logit_lens"](), subject, carried)
    for number, form in enumerate(forms):
        lens = JacobianLens(str(pt_file(tmp_path / f"{number}.pt", form)))
        lens.check_model(subject.site, subject.n_layers, subject.d_model, "any")
        assert explained(lens, subject, vectors) == expected
        assert lens.preview(subject.d_model)
    check_verbalizer(lens.open(subject))
    # What the next block is given is what this one leaves.
    assert explained(lens, _pre(subject, layer + 1), vectors) == expected


def _pre(subject: TinySubject, layer: int) -> TinySubject:
    other = _at(subject, layer)
    other.site = Site(layer, "resid_pre")
    return other


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil"),))


def test_what_is_no_lens_of_the_model_is_refused(
    subject: TinySubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    by_layer, width = matrices(subject, (subject.site.layer,)), subject.d_model
    Path("pickle.pt").write_bytes(pickle.dumps(_Evil()))
    Path("noise.pt").write_bytes(b"\0noise" * 50)
    named = "The same in 'many' words"
    wrong: dict[str, tuple[Any, str]] = {
        "evil.pt": (_Evil(), "no file of plain tensors"),
        "list.pt": ([1], "holds a list"),
        "keys.pt": ({"weights": torch.zeros(2), "note": named}, "note, weights, and no J"),
        "state.pt": ({"jacobian_sum": by_layer, "n_done": 80}, "not finished, after 80 texts"),
        "streams.pt": ({"J": by_layer, "provenance": {"stream_reduce": "mean"}}, "stream_reduce: 'mean'"),
        "flat.pt": ({"J": torch.zeros(3, 4)}, "shape"),
        "wide.pt": ({"J": {0: torch.zeros(width, 4 * width)}}, "width squared"),
        "width.pt": ({"J": {0: torch.eye(width + 1)}}, f"{width + 1} wide"),
        "deep.pt": ({"J": {0: torch.eye(width), 99: torch.eye(width)}}, "layer 99"),
        "target.pt": ({"J": by_layer, "target_layer": 1}, "another last block"),
        "lacks.pt": ({"J": {0: torch.eye(width)}}, "It has 0."),
        "nan.pt": ({"J": {subject.site.layer: torch.full((width, width), torch.nan)}}, "not finite"),
    }
    for name, (document, said) in wrong.items():
        lens = JacobianLens(str(pt_file(Path(name), document)))
        with pytest.raises(BridgeError, match=said):
            lens.open(subject)
    for name in ("pickle.pt", "noise.pt"):
        with pytest.raises(BridgeError, match="no file of plain tensors"):
            JacobianLens(name).open(subject)
    assert not Path("evil").exists()
    for name, said in (("none.pt", "no lens"), ("none.safetensors", "no Jacobian lens"), ("", "on this machine")):
        with pytest.raises(BridgeError, match=said):
            JacobianLens(name).open(subject)
    with pytest.raises(UsageError, match="reads the stream after a block"):
        other = _at(subject, 0)
        other.site = Site(0, "mlp_out")
        JacobianLens("lacks.pt").open(other)
    with pytest.raises(UsageError, match="name 0 tokens"):
        JacobianLens("lacks.pt", top=0).open(subject)


class _Stops(Progress):
    """Interrupts a fit after so many gradients; keeps what it is told."""

    def __init__(self, after: int = 10**9) -> None:
        self.left, self.notes = after, []

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        def advance(units: int = 1) -> None:
            self.left -= units
            if self.left < 0:
                raise KeyboardInterrupt

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def fitting(tiny_models: Mapping[str, list[Path]], corpus_file: Path) -> dict[str, Any]:
    more = {"corpus": str(corpus_file), "max_tokens": 40, "skip": 8, "dtype": "float32", "prompts": 6}
    return {"model": str(tiny_models["llama"][0]), "layers": "0,1", **more}


def test_parts_add_up_to_the_whole(fitting: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    whole = bridge.fit_lens(**fitting, out=tmp_path / "whole.safetensors")
    parts = [tmp_path / f"{number}.safetensors" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        bridge.fit_lens(**fitting, part=f"{number}/2", out=part)
    merged = bridge.merge_lenses(parts, tmp_path / "merged.safetensors")
    sums, again = load_file(whole["file"]), load_file(merged["file"])
    for name, expected in sums.items():
        assert expected.dtype == np.float64
        np.testing.assert_allclose(again[name], expected, rtol=0, atol=1e-14 * np.abs(expected).max())
    ignored = ("file", "options")
    assert {k: v for k, v in merged.items() if k not in ignored} == {k: v for k, v in whole.items() if k not in ignored}
    assert whole["prompts"] == 6
    with pytest.raises(BridgeError, match="in more than one"):
        bridge.merge_lenses([parts[0], whole["file"]], tmp_path / "twice.safetensors")
    with pytest.raises(UsageError, match="already exists"):
        bridge.merge_lenses(parts, parts[0])
    with pytest.raises(UsageError, match="Two lenses"):
        bridge.merge_lenses(parts[:1], tmp_path / "one.safetensors")
    other = bridge.fit_lens(**fitting | {"layers": "0"}, out=tmp_path / "other.safetensors")
    with pytest.raises(BridgeError, match="differ in layers"):
        bridge.merge_lenses([parts[0], other["file"]], tmp_path / "mixed.safetensors")


def test_an_interrupted_fit_continues_with_the_same_bits(fitting: dict[str, Any], tmp_path: Path) -> None:
    whole = bridge.fit_lens(**fitting, out=tmp_path / "whole.safetensors")
    out = tmp_path / "resumed.safetensors"
    width = whole["d_model"]
    for after in (width + 3, 2 * width):  # within the second text, and after the third
        with pytest.raises(KeyboardInterrupt):
            bridge.fit_lens(**fitting, out=out, progress=_Stops(after))
        assert not out.exists()
    with pytest.raises(UsageError, match="another fit"):
        bridge.fit_lens(**fitting | {"layers": "0"}, out=out)
    listening = _Stops()
    bridge.fit_lens(**fitting, out=out, progress=listening)
    assert any("of 6 texts were finished before" in note for note in listening.notes)
    assert any("the others need about" in note for note in listening.notes)
    assert out.read_bytes() == Path(whole["file"]).read_bytes()
    assert [one.name for one in tmp_path.iterdir() if "unfinished" in one.name] == []


def test_a_fitted_lens_is_the_mean_over_texts_and_is_found_again(
    registry: Registry,
    tiny_models: Mapping[str, list[Path]],
    fitting: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    corpus_file: Path,
) -> None:
    from safetensors.numpy import load_file

    fitted = bridge.fit_lens(**fitting)
    model = load(registry, "llama", Path(fitting["model"]))
    first = bridge.fit_lens(**fitting | {"prompts": 1}, out=Path(fitted["file"]).with_name("first.safetensors"))
    assert first["prompts"] == 1 and first["positions"] <= 40 - 1 - 8
    assert load_file(first["file"])["sum.1"].shape == (model.d_model, model.d_model)
    # On the model itself, and on another model's vectors through a bridge.
    others = f"{tiny_models['gemma'][0]}@1"
    asked = ["--corpus", str(corpus_file), "--max-documents", "40", "--max-tokens", "40", "--dtype", "float32"]
    for source in (f"{fitting['model']}@1", others):
        models = ["--src", source, "--via", f"{fitting['model']}@1", "--verbalizer", "jacobian_lens:top=3"]
        capsys.readouterr()
        main(["explain", *models, "--text", "The ship sailed north.", "--every", "3", *asked, "--json", "--quiet"])
        said = json.loads(capsys.readouterr().out)
        texts = [one["explanation"] for one in said["readings"]]
        assert texts and all(text.count("promotes: ") == 1 for text in texts)


def test_another_models_lens_is_refused_before_anything_runs(
    fitting: dict[str, Any], tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    from bridge_verbalizers.jacobian_lens.lens_file import read_record

    fitted = Path(bridge.fit_lens(**fitting | {"prompts": 2}, out=tmp_path / "lens.safetensors")["file"])
    record, lens = read_record(fitted), JacobianLens(str(fitted))
    fits = (Site(1), record.n_layers, record.d_model, record.weights)
    lens.check_model(*fits)
    with pytest.raises(BridgeError, match="other weights"):
        lens.check_model(*fits[:3], "others")
    replace(lens, any_model=True).check_model(*fits[:3], "others")
    with pytest.raises(BridgeError, match="blocks"):
        lens.check_model(Site(1), record.n_layers + 1, *fits[2:])
    with pytest.raises(BridgeError, match="wide"):
        lens.check_model(*fits[:2], record.d_model * 2, record.weights)
    lacking = JacobianLens(
        bridge.fit_lens(**fitting | {"layers": "0", "prompts": 2}, out=tmp_path / "0.safetensors")["file"]
    )
    if record.n_layers > 2:
        with pytest.raises(BridgeError, match=r"has no layer 1.*It has 0"):
            lacking.check_model(*fits)


def test_wrong_requests_are_refused(fitting: dict[str, Any], tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"layers": "0.mlp_out"}, "after whole blocks"),
        ({"layers": "99"}, "no block 99"),
        ({"part": "3/2"}, "no part"),
        ({"part": "9/9"}, "No text is left"),
        ({"prompts": 0}, "cannot be fitted on 0 texts"),
        ({"max_tokens": 9}, "leave no position"),
        ({"kind": "logit_lens"}, "fits no lens"),
        ({"memory": 0.0}, "0.0 GB"),
    ]
    for change, said in wrong:
        with pytest.raises(UsageError, match=said):
            bridge.fit_lens(**fitting | change, out=tmp_path / "never.safetensors")
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(UsageError, match="already exists"):
        bridge.fit_lens(**fitting, out=tmp_path / "there.safetensors")
