"""Train the bundled zoo from scratch: models, dictionaries, verbalizers and their reconstructors, on two cores.

    python tools/train_zoo.py --out plugins/models/bridge_toys/zoo --work DIR      # everything that is not there yet
    python tools/train_zoo.py --out OUT --work DIR --only tiny-qwen                  # one model and what belongs to it

Each model is a real one of transformers with random weights and a tokenizer of its own, trained on stories that
zoo_stories.py makes up as it goes. Dictionaries and verbalizers are made by the commands that users have, from
other stories than those that are shipped. One seed and one version of torch give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy

import zoo_stories

WARM_UP = 0.05
MODELS, HELD_OUT, TOKENIZER, TOOLS = 0, 1, 2, 3
"""Seeds of the training stream of stories; a model's own seed is that of its initialisation only."""

N_TOOLS = 12_000
"""Stories that dictionaries and verbalizers are trained on."""

MARKUP = "<explanation>\n</explanation> <concept></concept>"
"""Seen by tokenizers, so that what verbalizers write is not cut into letters."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How a language model is trained.

    Attributes:
        steps: Batches that it is trained on.
        batch: Stories of one.
        most_tokens: At which stories are cut.
        rate: Highest learning rate of AdamW.
        decay: Weight decay of AdamW.
        smoothing: Label smoothing of the cross-entropy that is minimised, not of that which is reported.
        spares_unseen: Whether tokens that no story has keep the directions of embeddings that they were drawn with, as
            long as others. Training does nothing but push them away, and verbalizers write with some (tags).
    """

    steps: int
    batch: int = 32
    most_tokens: int = 160
    rate: float = 2e-3
    decay: float = 0.05
    smoothing: float = 0.0
    spares_unseen: bool = False


@dataclass(frozen=True)
class Kind:
    """How a model of the zoo is made.

    Attributes:
        config: Its transformers configuration, given the size of its vocabulary.
        tokenizer: `bytes` (GPT-2, Qwen, Pythia) or `pieces` (SentencePiece with BOS, as Gemma).
        vocabulary: How many tokens it has.
        site: Where its dictionary and verbalizer are.
        seed: Of its initialisation.
        recipe: How it is trained.
        features: Of its dictionary.
        k: Features of it that are active at a time.
        speaks: Whether it gets a verbalizer.
    """

    config: Mapping[str, Any]
    tokenizer: str
    vocabulary: int
    site: int
    seed: int
    recipe: Recipe
    features: int
    k: int
    speaks: bool


QWEN = {
    "model_type": "qwen2", "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
GEMMA = {
    "model_type": "gemma3_text", "hidden_size": 112, "intermediate_size": 288, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 28, "query_pre_attn_scalar": 28,
    "sliding_window": 128, "layer_types": [*["sliding_attention"] * 4, "full_attention"],
}  # fmt: skip
# Wider than the tokens that stories use, and trained with much decay: directions that need not share dimensions are
# what two seeds can have alike up to a rotation.
PYTHIA = {
    "model_type": "gpt_neox", "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4,
}  # fmt: skip
ALIKE = Recipe(steps=4000, batch=16, most_tokens=96, rate=4e-3, decay=1.0, smoothing=0.1)
ZOO = {
    "tiny-qwen": Kind(QWEN, "bytes", 1280, 0, 0, Recipe(2000, rate=3e-3, decay=0.5, spares_unseen=True), 512, 12, True),
    "tiny-gemma": Kind(GEMMA, "pieces", 1280, 2, 0, Recipe(1000), 512, 12, True),
    **{f"tiny-pythia-seed{seed}": Kind(PYTHIA, "bytes", 340, 0, seed, ALIKE, 512, 8, False) for seed in (1, 2, 3)},
}


def make_tokenizer(kind: Kind) -> Any:
    """Train a BPE tokenizer on stories."""
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token=None, byte_fallback=kind.tokenizer == "pieces"))
    texts = [*(story.text for story in islice(zoo_stories.stories(zoo_stories.TRAINING, TOKENIZER), 4000))]
    texts += [MARKUP] * 400
    if kind.tokenizer == "bytes":
        specials = {"eos_token": "<|endoftext|>"}
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    else:
        specials = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
        alphabet = [chr(code) for code in range(33, 127)] + ["\n", "▁"]
        backend.normalizer = normalizers.Replace(" ", "▁")
        backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    names = list(specials.values())
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=kind.vocabulary - (256 if kind.tokenizer == "pieces" else 0),
            special_tokens=names,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    if kind.tokenizer == "pieces":
        backend = _with_bytes(backend, every_byte)
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **specials)


def _with_bytes(backend: Tokenizer, every_byte: list[str]) -> Tokenizer:
    """Add the bytes that characters outside of the alphabet fall back to, as SentencePiece vocabularies have them."""
    record = json.loads(backend.to_str())
    vocabulary = record["model"]["vocab"]
    record["model"]["vocab"] = vocabulary | {name: len(vocabulary) + at for at, name in enumerate(every_byte)}
    return Tokenizer.from_str(json.dumps(record))


def make_model(kind: Kind, tokenizer: Any) -> Any:
    """Build the model with random weights, drawn by its seed."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        **kind.config,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(kind.seed)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def batches(tokenizer: Any, recipe: Recipe, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches of stories of like length, (batch, tokens) int64, -1 behind their ends."""
    told = zoo_stories.stories(zoo_stories.TRAINING, seed)
    end, size = tokenizer.eos_token_id, recipe.batch
    while True:
        some = [[*tokenizer.encode(story.text)[: recipe.most_tokens - 1], end] for story in islice(told, 8 * size)]
        some.sort(key=len)
        order = torch.randperm(8, generator=torch.Generator().manual_seed(len(some[0])))
        for at in order.tolist():
            part = some[at * size : (at + 1) * size]
            yield torch.tensor([one + [-1] * (len(part[-1]) - len(one)) for one in part])


def loss_of(module: Any, ids: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy of the next token, in nats."""
    logits = module(input_ids=ids.clamp(min=0), use_cache=False).logits
    flat = logits[:, :-1].flatten(0, 1).float()
    return cross_entropy(flat, ids[:, 1:].flatten(), ignore_index=-1, label_smoothing=smoothing)


def train_model(name: str, kind: Kind, folder: Path) -> None:
    """Train one model and write it, in bfloat16, with its tokenizer and what it reached."""
    tokenizer, recipe = make_tokenizer(kind), kind.recipe
    module = make_model(kind, tokenizer)
    optimizer = torch.optim.AdamW(module.parameters(), recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.decay)
    embeddings = module.get_input_embeddings().weight
    drawn, unseen = embeddings.detach().clone(), torch.ones(len(embeddings), dtype=torch.bool)
    start, losses, log = time.perf_counter(), [], []
    for step, ids in zip(range(1, recipe.steps + 1), batches(tokenizer, recipe, MODELS), strict=False):
        progress = step / recipe.steps
        optimizer.param_groups[0]["lr"] = recipe.rate * min(progress / WARM_UP, (1 + math.cos(math.pi * progress)) / 2)
        loss = loss_of(module, ids, recipe.smoothing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        unseen[ids[ids >= 0]] = False
        if step % 200 == 0 or step == recipe.steps:
            log.append({"step": step, "loss": round(sum(losses[-200:]) / len(losses[-200:]), 4)})
            print(f"{name} {log[-1]} {(time.perf_counter() - start) / step:.3f} s/step", flush=True)
    module.eval()
    if recipe.spares_unseen:
        lengths = embeddings.data.norm(dim=1), drawn.norm(dim=1)
        embeddings.data[unseen] = drawn[unseen] * (lengths[0][~unseen].mean() / lengths[1][unseen].mean())
    with torch.inference_mode():
        held_out = [loss_of(module, ids).item() for ids in islice(batches(tokenizer, recipe, HELD_OUT), 16)]
    module.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {
        "seed": kind.seed, **asdict(recipe), "torch": torch.__version__, "log": log,
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "held_out_loss_nats": round(sum(held_out) / len(held_out), 4),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def call(*command: str | Path) -> None:
    """Run one of bridge's own commands, one thread: sums over several threads depend on how many there are."""
    print("$", *command, flush=True)
    subprocess.run([sys.executable, *map(str, command)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def finish(folder: Path, work: Path) -> None:
    """Leave what is shipped: no checkpoints of trainings, and no paths of the machine that it was trained on."""
    for path in folder.rglob(".*"):
        path.unlink()
    for path in (*folder.rglob("*.json"), *folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(str(folder.absolute()), folder.name).replace(f"{work.absolute()}/", ""), "utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the zoo")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is not shipped")
    parser.add_argument("--only", choices=ZOO, help="one model, and what belongs to it")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    zoo_stories.write(args.out / "stories.jsonl", zoo_stories.shipped())
    stories = args.work / "tool-stories.jsonl"
    zoo_stories.write(stories, islice(zoo_stories.stories(zoo_stories.TRAINING, TOOLS), N_TOOLS))
    for name, kind in ZOO.items():
        folder = args.out / "checkpoints" / name
        if args.only not in (None, name):
            continue
        if not (folder / "training.json").exists():
            train_model(name, kind, folder)
        model = f"{folder}@{kind.site}"
        common = ("--corpus", stories, "--max-tokens", "160")
        dictionary = folder / "dictionaries" / str(kind.site) / "topk"
        if not dictionary.exists():
            dictionary.parent.mkdir(parents=True, exist_ok=True)
            tool = Path(__file__).with_name("train_sae.py")
            sizes = ("--features", str(kind.features), "--k", str(kind.k), "--steps", "3000", "--lr", "2e-3")
            call(tool, "--model", model, "--kind", "topk", *sizes, *common, "--out", dictionary)
        verbalizer = folder / "verbalizers" / str(kind.site)
        if kind.speaks and not (verbalizer / "training.json").exists():
            sizes = ("--steps", "3000", "--batch", "64", "--rank", "64", "--lr", "2e-3", "--characters", "40")
            command = ("-c", "from bridge.cli import main; main()", "verbalizer", "train", "--model", model)
            call(*command, *sizes, "--topics", *common, "--out", verbalizer)
        finish(folder, args.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
