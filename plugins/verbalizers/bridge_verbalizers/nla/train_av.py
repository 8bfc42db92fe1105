"""Train an activation verbalizer: it writes the text before an activation from the activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ModelError
from bridge.models import TransformersTokenizer
from bridge.models.transformers_adapter import quiet
from bridge.readers import Message, Prompt
from bridge.readers.prompt import encoded, placed
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.formats.meta import Injection
from bridge_verbalizers.nla.adapters import add_adapters, merge_adapters, mixed_precision, train
from bridge_verbalizers.nla.av_loss import Candidates, adding, candidates, loss, replacing
from bridge_verbalizers.nla.examples import TrainingSet
from bridge_verbalizers.nla.job import Job
from bridge_verbalizers.nla.layout import AV, prompt_of
from bridge_verbalizers.nla.sidecar import Extraction, Sidecar, Tokens, write_sidecar

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATE = "<concept>{injection_char}</concept>"
CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}\n"
"""Short, because every token of the fixed prompt costs time in every step, and fine-tuning replaces its meaning."""

MARKS = "㈎㊗㊙※§¤¶†~^`|"
"""Candidate placeholders of the vector: the first that is a single token, also between the tags, is used."""

WINDOW = 16
"""Number of batches whose examples are sorted by length together."""

Floats = NDArray[np.float32]


def train_av(job: Job) -> dict[str, float]:
    """Train, merge and write a verbalizer; return the losses on held-out activations, in nats per token."""
    import torch

    subject, data, recipe, out = job.subject, job.data, job.recipe, job.out / AV
    loaded = subject.load()
    module: Any = loaded.module
    read = transformers_tokenizer(loaded)
    tokenizer = read.tokenizer
    tokenizer.chat_template = CHAT_TEMPLATE
    sidecar = _sidecar(subject, tokenizer, data.scale, recipe)
    found = placed(tokenizer, prompt_of(sidecar))
    prompt, at = list(found.ids), found.places[0]
    responses = {
        kind: [_response(read, text) for text in getattr(data, kind).texts] for kind in ("rows", "features", "held_out")
    }
    sizes = {kind: [len(one) for one in responses[kind]] for kind in ("rows", "features") if responses[kind]}
    plan = schedule(sizes, recipe.steps, recipe.batch, subject.seed)
    torch.manual_seed(subject.seed)
    weights = add_adapters(module, recipe.rank)
    injection = sidecar.extraction.injection
    inject = adding(module, at, injection.block) if injection else replacing(at, float(f"{data.scale:.1g}"))
    known = np.unique([token for some in responses.values() for response in some for token in response])
    vocabulary = module.get_output_embeddings().weight.shape[0]

    def batch_loss(x: Floats, responses_ids: Sequence[list[int]], among: Candidates | None) -> Tensor:
        return loss(module, prompt, inject, torch.from_numpy(x), responses_ids, among)

    def step_loss(step: int) -> Tensor:
        kind, rows = plan[step]
        x = getattr(data, kind).x[rows]
        with mixed_precision(module, subject.placement):
            among = candidates(known, vocabulary, [subject.seed, step])
            return batch_loss(x, [responses[kind][row] for row in rows], among)

    module.train()
    train(weights, step_loss, recipe.steps, recipe.lr, job.checkpoint(AV), job.identity, job.progress, "AV")
    merge_adapters(module)
    module.eval()
    with torch.inference_mode(), mixed_precision(module, subject.placement):
        measured = _held_out(
            data, responses["held_out"], lambda x, responses_ids: float(batch_loss(x, responses_ids, None))
        )
    with quiet():
        module.to(torch.bfloat16).save_pretrained(out)
        tokenizer.save_pretrained(out)
    write_sidecar(out, sidecar, {**job.identity, "held_out": measured})
    return measured


def transformers_tokenizer(loaded: Any) -> TransformersTokenizer:
    """Return the tokenizer of a loaded model of transformers.

    Raises:
        ModelError: If the model is not a transformers model.
    """
    tokenizer = loaded.tokenizer
    if not isinstance(tokenizer, TransformersTokenizer) or not hasattr(loaded.module, "get_input_embeddings"):
        raise ModelError(
            f"{loaded.name} is no model of transformers: no verbalizer of the NLA layout can be made of it.",
            remedy="Use one that needs no training: --verbalizer logit_lens, exemplars or patchscope.",
        )
    return tokenizer


def _sidecar(subject: Subject, tokenizer: Any, norm: float, recipe: Recipe) -> Sidecar:
    for char in MARKS:
        alone = tokenizer.encode(char, add_special_tokens=False)
        prompt = Prompt(
            messages=(Message(content=TEMPLATE.replace("{injection_char}", "{vectors}")),), placeholder=char
        )
        ids = encoded(tokenizer, prompt, 1, "", None)
        if len(alone) == 1 and ids.count(alone[0]) == 1:
            at = ids.index(alone[0])
            tokens = Tokens(
                injection_char=char,
                injection_token_id=alone[0],
                injection_left_neighbor_id=ids[at - 1],
                injection_right_neighbor_id=ids[at + 1],
            )
            adds = recipe.inject == "add"
            extraction = Extraction(
                # As in the released checkpoints: a round number near the mean norm of the activations.
                injection_scale=None if adds else float(f"{norm:.1g}"),
                injection=Injection() if adds else None,
                layer_index=subject.site.layer,
                point=subject.site.point,
                base_model=subject.name,
            )
            return Sidecar(
                role="av",
                d_model=subject.d_model,
                extraction=extraction,
                tokens=tokens,
                prompt_templates={"av": TEMPLATE},
            )
    raise ModelError(f"The tokenizer of {subject.name} has none of the characters {MARKS} as one token.")


def _response(tokenizer: TransformersTokenizer, text: str) -> list[int]:
    said = tokenizer.tokenizer.encode(f"<explanation>\n{text}\n</explanation>", add_special_tokens=False)
    if not tokenizer.ends():
        raise ModelError(
            f"The tokenizer of {tokenizer.name} has no token that ends a text, so a verbalizer could not stop.",
            remedy="Say which one it is: eos_token in its tokenizer_config.json.",
        )
    return [*said, tokenizer.ends()[0]]


def schedule(
    lengths: Mapping[str, Sequence[int]], steps: int, batch: int, seed: int
) -> list[tuple[str, NDArray[np.intp]]]:
    """Choose every step's examples: the kinds alternate, and each kind repeats its examples.

    Args:
        lengths: Number of tokens of each example, by kind: a batch holds examples of similar length, to reduce
            padding.
        steps: Number of batches.
        batch: Number of examples in a batch.
        seed: Seed of the order.
    """
    rng = np.random.default_rng(seed)

    def batches(sizes: Sequence[int]) -> Iterator[NDArray[np.intp]]:
        while True:
            for window in np.array_split(rng.permutation(len(sizes)), -(-len(sizes) // (WINDOW * batch))):
                alike = window[np.argsort(np.asarray(sizes)[window], kind="stable")]
                parts = np.array_split(alike, -(-len(alike) // batch))
                for part in rng.permutation(len(parts)):
                    yield parts[part]

    turns = {kind: batches(sizes) for kind, sizes in lengths.items()}
    return [(kind, next(turns[kind])) for kind, _ in zip(cycle(turns), range(steps), strict=False)]


def _held_out(data: TrainingSet, responses_ids: list[list[int]], measure: Any) -> dict[str, float]:
    """Measure the loss with each text's activation, with the mean activation, and with another text's activation."""
    x = data.held_out.x
    arms = {
        "loss": x,
        "loss_mean_vector": np.broadcast_to(data.mean, x.shape).copy(),
        "loss_other_vector": np.roll(x, len(x) // 2, 0),
    }
    parts = range(0, len(x), 32)
    sizes = [sum(map(len, responses_ids[start : start + 32])) for start in parts]
    return {
        name: float(
            np.average(
                [measure(rows[start : start + 32], responses_ids[start : start + 32]) for start in parts], weights=sizes
            )
        )
        for name, rows in arms.items()
    }
