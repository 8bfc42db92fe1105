"""Fitting a Jacobian lens: bridge beside the reference implementation's own way, written plainly.

The model has SmolLM2-135M's shape and random weights: what is computed does not depend on them. `source` is how
github.com/anthropics/jacobian-lens does it by default: the text eight times in the batch, one forward pass through all
blocks, without the head, parameters without gradients, then a backward pass for every eight dimensions of the target,
to all layers at once. `single` is one dimension a pass. Every backward pass of theirs costs the same, so only some
are timed, and their mean is multiplied; bridge's fit of a text is timed whole. The ways take turns in one process.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bridge.models import LoadedModel, Placement, Weights
from bridge.plugins.discovery import discover
from bridge_verbalizers.jacobian_lens.estimator import Estimator
from fit import peak_mebibytes, show, spread

SKIP = 16


def smollm(layers: int, folder: Path) -> LoadedModel:
    """Write and load a random model of SmolLM2-135M's shape, with some of its blocks."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    family = discover().models["llama"]
    tokenizer = family.write_tiny_checkpoints(folder / "tiny")[0]
    torch.manual_seed(0)
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    config = LlamaConfig(**shape, vocab_size=49152, num_hidden_layers=layers, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, folder / "model")
    return family.load(Weights(str(folder / "model")), Placement("cpu", "float32"))


def bridges(model: LoadedModel, ids: np.ndarray, memory: float, clock: Callable[[], float]) -> tuple[float, Any]:
    """Time bridge on one text; return seconds and the lens of the first layer."""
    estimator = Estimator(model, tuple(range(model.n_layers - 1)), SKIP, int(memory * 1e9))
    start = clock()
    found = estimator.jacobians(ids, lambda _: None)
    return clock() - start, found[0]


def source(model: LoadedModel, ids: np.ndarray, copies: int, passes: int, clock: Callable[[], float]) -> Any:
    """Time the reference's way on one text; return the seconds that it would take, and the rows of the first layer."""
    import torch

    blocks = model.module.get_submodule(model.layout.blocks)
    kept: dict[int, torch.Tensor] = {}

    def keep(number: int) -> Any:
        """Make a hook that keeps a block's output; the first one's is the root of the graph."""

        def hook(_: Any, args: Any, output: Any) -> None:
            kept[number] = output if torch.is_tensor(output) else output[0]
            if not number:
                kept[number].requires_grad_()

        return hook

    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    hooks = [block.register_forward_hook(keep(number)) for number, block in enumerate(blocks)]
    start = clock()
    with torch.enable_grad():
        model.module.model(input_ids=torch.from_numpy(ids).expand(copies, -1), use_cache=False)
    forward = clock() - start
    for hook in hooks:
        hook.remove()
    target, sources = kept[model.n_layers - 1], [kept[layer] for layer in range(model.n_layers - 1)]
    seconds, rows = [], []
    for number in range(passes):
        start = clock()
        cotangent = torch.zeros_like(target)
        cotangent[torch.arange(copies), SKIP:-1, number * copies + torch.arange(copies)] = 1
        gradients = torch.autograd.grad(target, sources, cotangent, retain_graph=True)
        means = [one[:, SKIP:-1].float().mean(1) for one in gradients]
        seconds.append(clock() - start)
        rows.append(means[0].numpy())
    return forward + float(np.mean(seconds)) * model.d_model / copies, np.concatenate(rows)


def main() -> None:
    """Compare the ways on texts of random tokens."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=30, help="Of SmolLM2-135M's 30 blocks.")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=4, help="Backward passes timed of the others, a round.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=float, default=2.0, help="GB, as of bridge lens fit.")
    parser.add_argument("--cpu-time", action="store_true", help="Count processor time, on a busy machine.")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    clock = time.process_time if asked.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        model = smollm(asked.blocks, Path(folder))
    ids = np.random.default_rng(0).integers(0, 49152, (asked.rounds, asked.tokens))
    times: dict[str, list[float]] = {"bridge": [], "source": [], "single": []}
    worst = 0.0
    for text in ids:
        seconds, rows = source(model, text, 8, asked.passes, clock)
        times["source"].append(seconds)
        times["single"].append(source(model, text, 1, 4 * asked.passes, clock)[0])
        mine, found = bridges(model, text, asked.memory, clock)
        times["bridge"].append(mine)
        worst = max(worst, float(np.abs(found[: len(rows)] - rows).max() / np.abs(rows).max()))
    ratios = {name: [a / b for a, b in zip(times[name], times["bridge"], strict=True)] for name in ("source", "single")}
    show(
        {
            "blocks": asked.blocks,
            "seconds a text": {name: spread(values) for name, values in times.items()},
            "their time / bridge's": {name: spread(values) for name, values in ratios.items()},
            "largest relative difference": worst,
            "peak memory of all, MiB": peak_mebibytes(),
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
