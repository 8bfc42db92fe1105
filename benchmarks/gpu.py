"""On a GPU: tokens/s and MFU of collection, explanations/s, and the fit, at the shapes of the headline pair.

Models have random weights in bfloat16, so nothing is fetched. Model FLOPs: two for every weight of the blocks that run
and every token, and two products of attention over the tokens before; the device's peak is its data sheet's, or what a
large product reaches where no sheet is known. `--tiny` runs the same code on small shapes, on any device.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bridge.collect import Collector, CollectSettings, activations_artifact, collect, free_device_memory
from bridge.corpus import Corpus, Document
from bridge.models import LoadedModel, TransformersTokenizer
from bridge.models.tiny_tokenizer import tiny_tokenizer
from bridge.pairing import Encoded
from bridge.plugins import discover
from bridge.progress import Silent
from bridge.references import Site
from bridge.store import Store
from fit import show, spread
from fit_headline import measure
from synthetic_rows import SyntheticRows

TARGET_MFU = 0.5
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bfloat16 FLOP/s of data sheets, by a part of the device's name; the first that fits counts."""


class Shape(NamedTuple):
    """A model's family, site, and configuration."""

    family: str
    layer: int
    config: dict[str, int]


SHAPES = {
    "7b": Shape("qwen", 20, dict(zip(
        ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        (3584, 18944, 28, 28, 4), strict=True)) | {"vocab_size": 152064}),
    "27b": Shape("gemma", 41, dict(zip(
        ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        (5376, 21504, 62, 32, 16), strict=True)) | {"vocab_size": 262208, "head_dim": 128}),
}  # fmt: skip
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
TINY |= {"num_key_value_heads": 2, "vocab_size": 512}


@final
class Texts:
    """Gives every document the same number of random tokens, and runs them through a model."""

    def __init__(self, model: LoadedModel, tokens: int, vocabulary: int) -> None:
        self.model, self.name, self.d_model = model, model.name, model.d_model
        self._ids = np.random.default_rng(0).integers(3, vocabulary, tokens)

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Return the tokens; each ends one character further."""
        return [Encoded(self._ids, np.arange(len(self._ids)) + 1) for _ in documents]

    def activations(self, ids: Any, mask: Any, sites: Sequence[Site]) -> list[Any]:
        """Run a batch."""
        return self.model.activations(ids, mask, sites)


def build(shape: Shape, device: str, tiny: bool) -> LoadedModel:
    """Make a model with random weights on the device."""
    import torch
    from transformers import Gemma3TextConfig, Qwen2Config

    kind = {"qwen": Qwen2Config, "gemma": Gemma3TextConfig}[shape.family]
    config = kind(**(TINY | ({"head_dim": 16} if shape.family == "gemma" else {}) if tiny else shape.config))
    adapter = discover().models[shape.family]
    with torch.device(device):
        module = adapter._auto(config).from_config(config, dtype=torch.bfloat16)  # type: ignore[attr-defined]
    return LoadedModel(
        shape.family,
        module,
        adapter.layout(module),  # type: ignore[attr-defined]
        TransformersTokenizer(tiny_tokenizer(bos=True), shape.family),
        d_model=config.hidden_size,
        n_layers=config.num_hidden_layers,
        inputs=lambda ids, mask: {"input_ids": ids, "attention_mask": mask, "use_cache": False},
        cached_inputs=adapter.cached_inputs(module),  # type: ignore[attr-defined]
    )


def flops_per_token(model: LoadedModel, layer: int, tokens: int) -> float:
    """Count the model FLOPs of a token up to the end of a block, at the mean length of what it attends to."""
    blocks = [model.module.get_submodule(f"{model.layout.blocks}.{index}") for index in range(layer + 1)]
    weights = sum(weight.numel() for block in blocks for weight in block.parameters() if weight.ndim == 2)
    config: Any = model.module.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2.0 * weights + 4.0 * (layer + 1) * config.num_attention_heads * width * tokens / 2


def peak_flops(device: str) -> tuple[float, str]:
    """Return the device's peak, and where it is from."""
    import torch

    name = torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"
    for part, peak in PEAKS.items():
        if part in name:
            return peak, f"data sheet of {name}"
    size = 4096 if device.startswith("cuda") else 512
    matrix = torch.ones((size, size), dtype=torch.bfloat16, device=device)
    return 2.0 * size**3 / min(seconds(lambda: float((matrix @ matrix)[0, 0])) for _ in range(5)), f"product on {name}"


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def collection(model: LoadedModel, layer: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Time collection into an empty store, with overlap and without, in turn; return medians over rounds."""
    texts = Texts(model, asked.tokens, 500)
    corpus = Corpus("random", tuple(Document("x" * 4 * asked.tokens + str(i), str(i)) for i in range(asked.documents)))
    settings = CollectSettings("bfloat16", asked.tokens, None, asked.device.partition(":")[0])
    site, times = Site(layer), {"overlapped": [], "in turn": []}  # type: ignore[var-annotated]
    for number in range(-1, asked.rounds):  # the first round warms up
        for way, found in times.items():
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                artifact = activations_artifact(Store(Path(folder)), "random", site, corpus, settings)
                if way == "overlapped":
                    args = ({site: artifact}, corpus, settings, Silent())
                    took = seconds(lambda args=args: collect(lambda: texts, "random", *args))
                else:
                    one = Collector(lambda: texts, {site: artifact}, corpus, settings)
                    took = seconds(lambda one=one: [one.collect_shard(k) for k in range(len(one.chunks))])
            if number >= 0:
                found.append(took)
    speed = {way: spread([asked.documents * asked.tokens / one for one in found]) for way, found in times.items()}
    peak, source = peak_flops(asked.device)
    mfu = speed["overlapped"]["median"] * flops_per_token(model, layer, asked.tokens) / peak
    return {"MFU": mfu, "target": TARGET_MFU, "peak": peak, "peak from": source} | {
        f"tokens/s, {way}": one for way, one in speed.items()
    }


def explanations(model: LoadedModel, asked: argparse.Namespace) -> float:
    """Return texts of `--new-tokens` tokens per second, after prompts of 64 tokens, in batches of 32."""
    prompts = [np.random.default_rng(i).integers(3, 500, 64) for i in range(asked.texts)]
    model.generate(prompts[:2], 2, ends=())
    return asked.texts / seconds(lambda: model.generate(prompts, asked.new_tokens, ends=()))


def main() -> None:
    """Run the benchmark."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--device", default="cuda", help="one device: cuda or cuda:N")
    parser.add_argument("--tokens", type=int, default=256, help="of every text")
    parser.add_argument("--documents", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=64, help="explanations")
    parser.add_argument("--new-tokens", type=int, default=60)
    parser.add_argument("--fit-rows", type=int, default=200_000, help="0 to skip the fit")
    parser.add_argument("--folder", help="where stores are made; default: the temporary folder")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to try the script on any device")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here. To try this script without one: --tiny --device cpu.")
    result: dict[str, Any] = {"benchmark": "gpu", "tiny": asked.tiny, "device": asked.device}
    for name in asked.shapes:
        shape = SHAPES[name]
        layer = 1 if asked.tiny else shape.layer
        model = build(shape, asked.device, asked.tiny)
        result[f"{name} collection"] = collection(model, layer, asked)
        result[f"{name} explanations"] = {"per_second": explanations(model, asked)}
        del model
        free_device_memory()
    if asked.fit_rows:
        rows = SyntheticRows(asked.fit_rows, *((256, 320) if asked.tiny else (3584, 5376)))
        fitted = measure(rows, False, asked.device)
        result["fit"] = {"products": fitted["products"]} | fitted["seconds"]
    show(result, asked.json)


if __name__ == "__main__":
    main()
