"""Train an activation verbalizer: it writes the text before an activation from the activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ModelError
from bridge.models.transformers_adapter import quiet
from bridge.readers import Message, Prompt
from bridge.readers.prompt import encoded, placed
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.formats.meta import Injection
from bridge_verbalizers.nla.layout import AV, prompt_of
from bridge_verbalizers.nla.sidecar import Extraction, Sidecar, Tokens, write_sidecar
from bridge_verbalizers.training.adapters import add_adapters, merge_adapters, mixed_precision, train
from bridge_verbalizers.training.batches import schedule
from bridge_verbalizers.training.examples import TrainingSet
from bridge_verbalizers.training.job import Job
from bridge_verbalizers.training.loss import Candidates, adding, against_baselines, candidates, loss, replacing
from bridge_verbalizers.training.tokens import CHAT_TEMPLATE, response, transformers_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATE = "<concept>{injection_char}</concept>"
MARKS = "㈎㊗㊙※§¤¶†~^`|"
"""Candidate placeholders of the vector: the first that is a single token, also between the tags, is used."""

Floats = NDArray[np.float32]


def train_av(job: Job, data: TrainingSet) -> dict[str, float]:
    """Train, merge and write a verbalizer; return the losses on held-out activations, in nats per token."""
    import torch

    subject, recipe, out = job.subject, job.recipe, job.out / AV
    loaded = subject.load()
    module: Any = loaded.module
    read = transformers_tokenizer(loaded)
    tokenizer = read.tokenizer
    tokenizer.chat_template = CHAT_TEMPLATE
    sidecar = _sidecar(subject, tokenizer, data.scale, recipe)
    found = placed(tokenizer, prompt_of(sidecar))
    prompt = found.ids
    responses = {
        kind: [response(read, f"<explanation>\n{text}\n</explanation>") for text in getattr(data, kind).texts]
        for kind in ("rows", "features", "held_out")
    }
    sizes = {kind: [len(one) for one in responses[kind]] for kind in ("rows", "features") if responses[kind]}
    plan = schedule(sizes, recipe.steps, recipe.batch, subject.seed)
    torch.manual_seed(subject.seed)
    weights = add_adapters(module, recipe.rank)
    injection = sidecar.extraction.injection
    scale = float(f"{data.scale:.1g}")
    inject = adding(module, found.places, injection.block) if injection else replacing(found.places, scale)
    known = np.unique([token for some in responses.values() for response in some for token in response])
    vocabulary = module.get_output_embeddings().weight.shape[0]

    def batch_loss(x: Floats, responses_ids: Sequence[list[int]], among: Candidates | None) -> Tensor:
        return loss(module, prompt, inject, torch.from_numpy(x[:, None]), responses_ids, among)

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
        measured = against_baselines(
            data.held_out.x,
            data.mean,
            responses["held_out"],
            lambda x, responses_ids: float(batch_loss(x, responses_ids, None)),
        )
    with quiet():
        module.to(torch.bfloat16).save_pretrained(out)
        tokenizer.save_pretrained(out)
    write_sidecar(out, sidecar, {**job.identity, "held_out": measured})
    return measured


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
