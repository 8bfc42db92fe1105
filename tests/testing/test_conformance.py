"""Every registered plugin keeps the laws of its contract, and every check notices when one does not."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.dictionaries import Dictionary, DictionaryFormat
from bridge.errors import BridgeError, ConformanceError, MapError, UsageError
from bridge.maps import AffineMap, FittedMap, Map, TrainingData
from bridge.metrics import Metric
from bridge.models import Location, Tokenizer, TransformersAdapter
from bridge.models.layout import Layout, sequential
from bridge.pairing import Encoded
from bridge.plugins import discover
from bridge.readers import ReaderFormat, Weights
from bridge.scorers import Evidence, Need, Scorer
from bridge.testing import (
    TinySubject,
    check_dictionary_format,
    check_engine,
    check_map,
    check_model,
    check_reader_format,
    check_scorer,
    check_verbalizer,
)
from bridge.testing.certify import certify
from bridge.verbalizers import Blends, Explanation, Verbalizer, check_vectors
from dictionary_files import WRITERS
from nla_files import TrainedSubject, tiny_nla
from published_files import oracle_config, write_base, write_easynla_av, write_lora_nla, write_oracle, write_oracle_lens
from serving_files import tiny_served

REGISTRY = discover()
ELSEWHERE = ("ndif", "vllm")
"""Sources that need another program, or models of the hub."""


def opened(name: str) -> Callable[[Path], Verbalizer]:
    return lambda folder: REGISTRY.verbalizer(name)().open(TinySubject(REGISTRY.models["llama"], folder))


def tiny_lens(folder: Path) -> Verbalizer:
    """Open a Jacobian lens of a tiny model, in the form that is released."""
    import torch

    subject = TinySubject(REGISTRY.models["llama"], folder)
    matrix = torch.randn(subject.d_model, subject.d_model, generator=torch.Generator().manual_seed(0)).half()
    torch.save({"J": {subject.site.layer: matrix}}, folder / "lens.pt")
    return REGISTRY.verbalizer("jacobian_lens")(lens=str(folder / "lens.pt")).open(subject)


def tiny_reader(name: str, write: Callable[[Path, Path], None], **options: str) -> Callable[[Path], Verbalizer]:
    """Open a reader of a format, with tiny random weights."""

    def open_(folder: Path) -> Verbalizer:
        width = write_base(folder / "base")
        write(folder / name, folder / "base")
        kind = REGISTRY.verbalizer(name)
        return kind(checkpoint=str(folder / name), max_new_tokens=4, **options).open(TrainedSubject(width))

    return open_


# Verbalizers and formats need something to read, so whoever adds one says here how to make a tiny one.
VERBALIZERS: dict[str, Callable[[Path], Verbalizer]] = {
    "jacobian_lens": tiny_lens,
    "activation_oracle": tiny_reader(
        "activation_oracle", lambda path, base: write_oracle(path, base, oracle_config(base)), ask="What is it about?"
    ),
    "easynla": tiny_reader("easynla", write_easynla_av),
    "lora_nla": tiny_reader("lora_nla", write_lora_nla),
    "nla": tiny_nla,
    "oracle_lens": tiny_reader("oracle_lens", write_oracle_lens),
    "nla_sglang": tiny_served("nla_sglang"),
    "nla_vllm": tiny_served("nla_vllm"),
    **{name: opened(name) for name in ("exemplars", "logit_lens", "patchscope")},
}
DICTIONARIES: dict[str, Callable[[Path], Path]] = WRITERS


def test_plugins_are_whole() -> None:
    assert [plugin for plugin in REGISTRY.plugins if plugin.error] == []


def test_the_kit_imports_without_torch() -> None:
    code = "import sys, bridge.testing; sys.exit(bool({'torch', 'transformers', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", REGISTRY.maps)
def test_map(name: str) -> None:
    check_map(REGISTRY.maps[name])


@pytest.mark.parametrize("name", REGISTRY.scorers)
def test_scorer(name: str) -> None:
    check_scorer(REGISTRY.scorers[name])


@pytest.mark.parametrize("name", REGISTRY.models)
def test_model(name: str, tmp_path: Path) -> None:
    check_model(REGISTRY.models[name], tmp_path)


@pytest.mark.parametrize("name", REGISTRY.verbalizers)
def test_verbalizer(name: str, tmp_path: Path) -> None:
    assert name in VERBALIZERS, "say in VERBALIZERS how to make a tiny one"
    check_verbalizer(VERBALIZERS[name](tmp_path / name))


def test_dictionary_formats(tmp_path: Path) -> None:
    assert set(DICTIONARIES) == set(REGISTRY.dictionary_formats), "say in DICTIONARIES how to write a tiny one"
    for name, write in DICTIONARIES.items():
        check_dictionary_format(REGISTRY.dictionary_formats[name], write(tmp_path / name))


@pytest.mark.parametrize("name", REGISTRY.activation_sources)
def test_activation_source(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that needs another program is tested with it, in the tests of its package."""
    monkeypatch.delenv("BRIDGE_VLLM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    certificate = certify(REGISTRY, "activation_sources", name)
    assert not certificate.broken
    assert bool(certificate.skipped) == (name in ELSEWHERE), certificate.skipped


@pytest.mark.parametrize("name", REGISTRY.reader_formats)
def test_reader_formats(name: str, tmp_path: Path) -> None:
    fmt = REGISTRY.reader_formats[name]
    fmt.example(tmp_path / name)
    check_reader_format(fmt, tmp_path / name)


@pytest.mark.parametrize("name", REGISTRY.engines)
def test_engines(name: str) -> None:
    try:
        check_engine(REGISTRY.engine(name)())
    except UsageError as error:  # its package is not installed
        pytest.skip(str(error))


# What follows is broken on purpose, one law each.


class Fitted(FittedMap):
    """Least squares, which subclasses spoil."""

    def __init__(self, inner: AffineMap) -> None:
        self.inner = inner

    d_src = property(lambda self: self.inner.d_src)
    d_dst = property(lambda self: self.inner.d_dst)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.inner(x)

    def direction(self, v: np.ndarray) -> np.ndarray:
        return self.inner.direction(v)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.inner.arrays()


class AddsMean(Fitted):
    def direction(self, v: np.ndarray) -> np.ndarray:
        return self.inner(v)


class DoublesDirections(Fitted):
    def direction(self, v: np.ndarray) -> np.ndarray:
        return 2 * self.inner.direction(v)


class CentresTheBatch(Fitted):
    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.inner(x - x.mean(0)) if len(x) else self.inner(x)


class ReturnsFloat32(Fitted):
    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.inner(x).astype(np.float32)


class PretendsToInvert(Fitted):
    def inverse(self) -> FittedMap:
        return AffineMap(np.linalg.pinv(self.inner.weight) / 2, self.inner.mean_dst, self.inner.mean_src)


class ForgetsDigits(Fitted):
    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.round(array, 6) for name, array in self.inner.arrays().items()}


def map_type(fitted_type: Callable[[AffineMap], FittedMap], noise: float = 0.0, refuse: bool = False) -> type[Map]:
    @dataclasses.dataclass(frozen=True)
    class LeastSquares(Map):
        name = "least_squares"
        summary = "For this test."

        def fit(self, data: TrainingData) -> FittedMap:
            if refuse or (data.d_src != data.d_dst and fitted_type is PretendsToInvert):
                raise MapError("These widths are refused.")
            moments = data.moments
            weight = np.linalg.solve(moments.xx, moments.xy)
            weight += noise * np.random.default_rng().normal(size=weight.shape)
            return fitted_type(AffineMap(weight, moments.mean_x, moments.mean_y))

        def restore(self, arrays: Mapping[str, np.ndarray]) -> FittedMap:
            return fitted_type(AffineMap(arrays["weight"], arrays["mean_src"], arrays["mean_dst"]))

    return LeastSquares


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (map_type(AddsMean), "positively homogeneous"),
        (map_type(DoublesDirections), r"direction\(v\) = map\(x \+ v\) - map\(x\)"),
        (map_type(CentresTheBatch), "maps each row independently"),
        (map_type(ReturnsFloat32), "finite float64"),
        (map_type(PretendsToInvert), r"inverse\(\)\(map\(x\)\) = x"),
        (map_type(ForgetsDigits), "bit for bit"),
        (map_type(Fitted, noise=1e-4), "fitting twice"),
        (map_type(Fitted, refuse=True), "equal widths can be fitted"),
    ],
)
def test_broken_map(broken: type[Map], law: str) -> None:
    with pytest.raises(ConformanceError, match=law):
        check_map(broken)


def test_sound_map_in_the_same_clothes() -> None:
    check_map(map_type(Fitted))


class MeanError(Scorer):
    """Mean absolute error of every arm, which subclasses spoil."""

    name = "mean_error"
    summary = "For this test."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        for arm, fitted in evidence.arms.items():
            errors = np.concatenate([np.abs(rows.y - fitted(rows.x)).mean(1) for rows in evidence.held_out.typical()])
            value = float(errors.mean())
            yield evidence.metric(self, "error", arm, value, (value - 0.1, value + 0.1), len(errors))


class SkipsAnArm(MeanError):
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        return [metric for metric in super().score(evidence) if metric.arm != "mispaired"]


class ForgetsItsControl(MeanError):
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        return [dataclasses.replace(metric, control="") for metric in super().score(evidence)]


class IsOutsideItsInterval(MeanError):
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        return [dataclasses.replace(metric, low=metric.value + 0.01) for metric in super().score(evidence)]


class RestsOnNothing(MeanError):
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        return [dataclasses.replace(metric, n=0) for metric in super().score(evidence)]


class HasNoSeed(MeanError):
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        noise = 0.01 * float(np.random.default_rng().random())
        return [dataclasses.replace(metric, value=metric.value + noise) for metric in super().score(evidence)]


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (SkipsAnArm, "every arm"),
        (ForgetsItsControl, "every number has its control"),
        (IsOutsideItsInterval, "inside its interval"),
        (RestsOnNothing, "number of rows"),
        (HasNoSeed, "same evidence gives the same metrics"),
    ],
)
def test_broken_scorer(broken: type[Scorer], law: str) -> None:
    with pytest.raises(ConformanceError, match=law):
        check_scorer(broken())


class Tiny(TransformersAdapter):
    """Llama again, which subclasses spoil."""

    name = "tiny"
    model_types = ("llama",)

    def layout(self, module: Any) -> Layout:
        return sequential("model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> list[Any]:
        return list(REGISTRY.models["llama"].tiny_configs())


class SwapsAttentionAndMLP(Tiny):
    def layout(self, module: Any) -> Layout:
        return sequential("model.layers", attn_out="mlp", resid_mid="post_attention_layernorm", mlp_out="self_attn")


class WiredToTheWrongModule(Tiny):
    def layout(self, module: Any) -> Layout:
        norm = "post_attention_layernorm"
        return sequential("model.layers", attn_out="self_attn.q_proj", resid_mid=norm, mlp_out="mlp")


class ReadsTheNorm(Tiny):
    def layout(self, module: Any) -> Layout:
        right = super().layout(module)
        return Layout(right.blocks, {**right.points, "resid_pre": Location("input_layernorm", "output")})


class NormInTheMiddle(Tiny):
    def layout(self, module: Any) -> Layout:
        right = super().layout(module)
        return Layout(right.blocks, {**right.points, "resid_mid": Location("post_attention_layernorm", "output")})


class MiscountsBlocks(Tiny):
    def describe(self, weights: Any) -> Any:
        return dataclasses.replace(super().describe(weights), n_layers=2)


class MixesTheBatch(Tiny):
    def load(self, weights: Any, placement: Any) -> Any:
        model = super().load(weights, placement)
        model.module.model.embed_tokens.register_forward_hook(lambda module, args, out: out + 0.1 * out.mean(0))
        return model


class SeesPadding(Tiny):
    def load(self, weights: Any, placement: Any) -> Any:
        model = super().load(weights, placement)
        inputs = model._cached_inputs
        model._cached_inputs = lambda ids, mask, *rest: inputs(ids, mask * 0 + 1, *rest)
        return model


class Tokens(Tokenizer):
    """A tokenizer whose result is spoilt by a function."""

    def __init__(self, inner: Any, spoil: Callable[[Encoded, int], Encoded]) -> None:
        self.inner, self.spoil = inner, spoil

    def encode(self, documents: Any, max_tokens: int) -> list[Encoded]:
        cut = max_tokens + 1 if self.spoil is keep_one_more else max_tokens
        return [self.spoil(encoded, max_tokens) for encoded in self.inner.encode(documents, cut)]

    def decode(self, ids: Any) -> str:
        return self.inner.decode(ids)


def keep_one_more(encoded: Encoded, limit: int) -> Encoded:
    return encoded


def swap_two_ends(encoded: Encoded, limit: int) -> Encoded:
    ends = encoded.ends.copy()
    ends[:2] = ends[:2][::-1]
    return Encoded(encoded.ids, ends)


def count_from_the_start_of_tokens(encoded: Encoded, limit: int) -> Encoded:
    return Encoded(encoded.ids, np.concatenate([[0], encoded.ends[:-1]]))


def spoilt(spoil: Callable[[Encoded, int], Encoded]) -> type[Tiny]:
    class Spoilt(Tiny):
        def tokenizer(self, weights: Any) -> Any:
            return Tokens(super().tokenizer(weights), spoil)

    return Spoilt


class ClaimsNothing(Tiny):
    model_types = ()


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (SwapsAttentionAndMLP, "reached in the order of POINTS"),
        (WiredToTheWrongModule, r"attn_out \+ mlp_out = resid_post"),
        (NormInTheMiddle, r"resid_mid = resid_pre \+ attn_out"),
        (ReadsTheNorm, "resid_post of a block is resid_pre of the next"),
        (MiscountsBlocks, "describe tells"),
        (MixesTheBatch, "batching"),
        (SeesPadding, "side by side and part by part"),
        (spoilt(swap_two_ends), "ends never decrease"),
        (spoilt(count_from_the_start_of_tokens), "reach its end"),
        (spoilt(keep_one_more), "max_tokens"),
        (ClaimsNothing, "claims its own"),
    ],
)
def test_broken_model(broken: type[Tiny], law: str, tmp_path: Path) -> None:
    with pytest.raises(ConformanceError, match=law):
        check_model(broken(), tmp_path)


class Says(Verbalizer):
    """Names the largest coordinate."""

    d_model, reconstructs = 5, True

    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        check_vectors(vectors, self.d_model)
        return [Explanation(f"coordinate {int(row.argmax())} at {row.max():.3f}") for row in vectors]

    def reconstruct(self, texts: Any) -> np.ndarray:
        return np.ones((len(texts), self.d_model), dtype=np.float32)


class DropsOne(Says):
    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        return super().explain(vectors)[:-1]


class Sorts(Says):
    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        return sorted(super().explain(vectors), key=lambda explanation: explanation.text)


class SpeaksPlainly(Says):
    def explain(self, vectors: np.ndarray) -> Any:
        return [explanation.text for explanation in super().explain(vectors)]


class ReadsAnything(Says):
    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        return [Explanation(str(float(np.max(row)))) for row in vectors]


class ReadsTheBroken(Says):
    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        return super().explain(np.nan_to_num(vectors))


class ReadsNothing(Says):
    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        return super().explain(np.where(vectors.any(-1, keepdims=True), vectors, 1))


class Guesses(Says):
    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        return [Explanation(str(np.random.default_rng().random())) for _ in super().explain(vectors)]


class ForgetsTheBackground(Says):
    def explain_blends(self, blends: Blends) -> list[Explanation]:
        return self.explain(blends.vectors.mean(1) - blends.backgrounds.mean(0))


class BreaksOnContrast(Says):
    def explain_blends(self, blends: Blends) -> list[Explanation]:
        if blends.beta:
            raise NotImplementedError
        return super().explain_blends(blends)


class ReadsOneBackground(Says):
    def explain_blends(self, blends: Blends) -> list[Explanation]:
        return self.explain(blends.vectors.reshape(-1, self.d_model))


class HidesItsReconstructor(Says):
    reconstructs = False


class PromisesAReconstructor(Says):
    def reconstruct(self, texts: Any) -> np.ndarray:
        raise BridgeError("none")


class RebuildsTooFew(Says):
    def reconstruct(self, texts: Any) -> np.ndarray:
        return np.ones((1, self.d_model), dtype=np.float32)


class NotesNothing(Says):
    def notes(self) -> Any:
        return None


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (DropsOne, "one explanation per vector"),
        (Sorts, "in order"),
        (SpeaksPlainly, r"a bridge\.verbalizers\.Explanation"),
        (ReadsAnything, "ShapeError"),
        (ReadsTheBroken, "zero, NaN or infinite .*nan in the second"),
        (ReadsNothing, "zero, NaN or infinite .* 0.0 in the second"),
        (Guesses, "same vectors"),
        (ForgetsTheBackground, "explain of the blends"),
        (BreaksOnContrast, "with a UsageError.*beta 0.5"),
        (ReadsOneBackground, "one explanation per vector.*two backgrounds"),
        (HidesItsReconstructor, "whether reconstruct works.*it returned vectors"),
        (PromisesAReconstructor, "whether reconstruct works.*none"),
        (RebuildsTooFew, "reconstruct gives one"),
        (NotesNothing, "notes returns a list of texts"),
    ],
)
def test_broken_verbalizer(broken: type[Says], law: str) -> None:
    with pytest.raises(ConformanceError, match=law):
        check_verbalizer(broken())


def test_sound_verbalizer_in_the_same_clothes() -> None:
    check_verbalizer(Says())


class Relu(Dictionary):
    """A ReLU dictionary, which subclasses spoil."""

    def __init__(self, directions: np.ndarray) -> None:
        self.directions = directions

    def encode(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x @ self.directions.T - 0.5, 0)

    def decode(self, features: np.ndarray) -> np.ndarray:
        return features @ self.directions + np.float32(3)


class Squares(Relu):
    def decode(self, features: np.ndarray) -> np.ndarray:
        return features**2 @ self.directions


class RanksTheBatch(Relu):
    def encode(self, x: np.ndarray) -> np.ndarray:
        encoded = super().encode(x)
        return encoded * (encoded >= np.quantile(encoded, 0.9))


class Json(DictionaryFormat):
    name = "json"
    summary = "For this test."
    kind: type[Relu] = Relu
    refusal: type[Exception] = BridgeError

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".json"

    def load(self, path: Path) -> Dictionary:
        try:
            return self.kind(np.array(json.loads(path.read_text()), dtype=np.float32))
        except ValueError as error:
            raise self.refusal("damaged") from error


def test_broken_dictionary_formats(tmp_path: Path) -> None:
    path = tmp_path / "directions.json"
    path.write_text(json.dumps(np.random.default_rng(0).normal(size=(20, 6)).tolist()))
    check_dictionary_format(Json(), path)
    changes = {
        "affine in the features": {"kind": Squares},
        "encode gives .* each row independently": {"kind": RanksTheBatch},
        "incomplete": {"refusal": KeyError},
        "recognises its own files": {"recognises": lambda self, path: True},
    }
    for law, change in changes.items():
        with pytest.raises(ConformanceError, match=law):
            check_dictionary_format(type("Broken", (Json,), change)(), path)


def test_broken_reader_formats(tmp_path: Path) -> None:
    from reader_files import Told, tell

    folder = tell(tmp_path / "told", d_model=32, injection={"length": 3.0})
    (folder / "model.safetensors").write_bytes(b"weights")
    check_reader_format(Told(), folder)
    describe = Told.describe
    told = {name: getattr(Told, name) for name in ("name", "summary", "recognises", "describe")}
    calls: list[int] = []

    def counts(self: Any, path: Path, reconstructor: Path | None = None) -> Any:
        calls.append(1)
        return dataclasses.replace(describe(self, path), d_model=len(calls))

    def reads(self: Any, path: Path, reconstructor: Path | None = None) -> Any:
        (path / "model.safetensors").read_bytes()
        return describe(self, path)

    def shrugs(self: Any, path: Path, reconstructor: Path | None = None) -> Any:
        try:
            return describe(self, path)
        except BridgeError:
            return dataclasses.replace(describe(self, folder), weights=Weights(folder=path))

    for law, change in {
        "recognises its own folders": {"recognises": lambda self, path: True},
        "the same description": {"describe": counts},
        "weights are neither read": {"describe": reads},
        "whose description is damaged": {"describe": shrugs},
    }.items():
        with pytest.raises(ConformanceError, match=law):
            check_reader_format(type("Broken", (ReaderFormat,), told | change)(), folder)
