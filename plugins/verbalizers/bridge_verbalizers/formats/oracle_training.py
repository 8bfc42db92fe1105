"""Train an activation oracle: a low-rank adapter with which a model answers questions about its own activations."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ModelError, UsageError
from bridge.files import write_json
from bridge.models import TransformersTokenizer
from bridge.models.transformers_adapter import quiet
from bridge.progress import Progress
from bridge.readers.prompt import Placed, placed
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.formats.files import ADAPTER, ADAPTER_CONFIG
from bridge_verbalizers.formats.oracle_config import NAME, PLACE, OracleConfig, prompt_of
from bridge_verbalizers.formats.oracle_questions import SEVERAL, WORD, Asked, gather_questions
from bridge_verbalizers.training.adapters import add_adapters, lora_config, mixed_precision, train
from bridge_verbalizers.training.batches import response, schedule, transformers_tokenizer
from bridge_verbalizers.training.loss import adding, against_baselines, candidates, loss

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1
"""The block to whose output vectors are added (Activation Oracles, arXiv 2512.15674, section 2)."""

CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}\n"
"""For models without a chat template."""

PLACES = (PLACE, *"~^`|¤§¶†")
"""Candidate placeholders: the first that is one token, alone and in the prompt, is used."""

Kind = tuple[str, int]
"""A question, and the number of vectors that it is about."""


def train_oracle(subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Train an adapter and write it with its configuration; return the losses on held-out activations.

    Args:
        subject: The model and site whose activations it learns to read.
        recipe: How to train; an oracle has no reconstructor.
        out: The folder to write.
        progress: Receives every step.

    Returns:
        For every question, the losses of `against_baselines`, in nats per token.

    Raises:
        UsageError: If the recipe asks for what an oracle does not have.
        ModelError: If the model is no model of transformers, or has no token for the places of vectors.
    """
    import torch

    _check(subject, recipe)
    if recipe.reconstructor:
        progress.note("An oracle has no reconstructor: none is trained.")
    progress.note(f"Choosing examples for {subject.name}.")
    data, tested = gather_questions(subject, recipe)
    loaded = subject.load()
    module: Any = loaded.module
    read = transformers_tokenizer(loaded)
    templated = bool(read.tokenizer.chat_template)
    if not templated:
        read.tokenizer.chat_template = CHAT_TEMPLATE
    config = _config(read, subject, str(module.config._name_or_path))
    kinds = [(question, count) for question in data.answers for count in ((1,) if question == WORD else (1, SEVERAL))]
    prompts = {kind: _placed(read, config, subject, kind) for kind in kinds}
    ids = {question: [response(read, text) for text in texts] for question, texts in data.answers.items()}
    plan = schedule(
        {kind: [len(one) for one in ids[kind[0]]] for kind in kinds}, recipe.steps, recipe.batch, subject.seed
    )
    torch.manual_seed(subject.seed)
    adapter = lora_config(module, recipe.rank)
    weights = add_adapters(module, recipe.rank)
    known = np.unique([token for some in ids.values() for one in some for token in one])
    vocabulary = module.get_output_embeddings().weight.shape[0]

    def batch_loss(kind: Kind, x: Any, responses_ids: Any, among: Any) -> Tensor:
        prompt = prompts[kind]
        inject = adding(module, prompt.places, BLOCK)
        return loss(module, prompt.ids, inject, torch.from_numpy(x), responses_ids, among)

    def step_loss(step: int) -> Tensor:
        kind, rows = plan[step]
        with mixed_precision(module, subject.placement):
            among = candidates(known, vocabulary, [subject.seed, step])
            return batch_loss(kind, data.x[rows, -kind[1] :], [ids[kind[0]][row] for row in rows], among)

    identity = _identity(subject, recipe, data)
    module.train()
    train(weights, step_loss, recipe.steps, recipe.lr, out / ".oracle.safetensors", identity, progress, "oracle")
    module.eval()
    with torch.inference_mode(), mixed_precision(module, subject.placement):
        # Each kind is measured on its own share of the examples: the head of a large vocabulary takes most of the time.
        shares = [slice(number, None, len(kinds)) for number in range(len(kinds))]
        measured = {
            _title(kind): _measured(kind, tested, share, read, batch_loss)
            for kind, share in zip(kinds, shares, strict=True)
        }
    _write(out, config, weights, adapter, None if templated else read)
    return measured


def _title(kind: Kind) -> str:
    question, count = kind
    return f"{question} ({count} vectors)" if count > 1 else question


def _measured(
    kind: Kind, tested: Asked, share: slice, read: TransformersTokenizer, batch_loss: Callable[..., Tensor]
) -> dict[str, float]:
    question, count = kind
    answers = [response(read, text) for text in tested.answers[question][share]]
    return against_baselines(
        tested.x[share, -count:], tested.mean, answers, lambda x, some: float(batch_loss(kind, x, some, None))
    )


def _check(subject: Subject, recipe: Recipe) -> None:
    if recipe.inject == "replace":
        raise UsageError("Oracles are trained with added vectors only.", remedy="Leave --inject out.")
    if recipe.dictionary:
        raise UsageError("Oracles are trained on activations only.", remedy="Leave --dictionary out.")
    if subject.site.point != "resid_post" or subject.site.is_module:
        raise UsageError(
            f"Oracles read outputs of blocks, and {subject.site} is another site.",
            cause="ao_config.json has no place for another site.",
            remedy="Train an NLA (--verbalizer nla), or name a block, as in @20.",
        )


def _config(read: TransformersTokenizer, subject: Subject, base: str) -> OracleConfig:
    for place in PLACES:
        if len(read.tokenizer.encode(place, add_special_tokens=False)) != 1:
            continue
        return OracleConfig(
            model_name=base,
            hook_onto_layer=BLOCK,
            special_token=place,
            act_layer_combinations=[[subject.site.layer]],
            created_at_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
    raise ModelError(f"The tokenizer of {subject.name} has none of {PLACES} as one token.")


def _placed(read: TransformersTokenizer, config: OracleConfig, subject: Subject, kind: Kind) -> Placed:
    question, count = kind
    return placed(read.tokenizer, prompt_of(config), count, question, subject.site.layer)


def _identity(subject: Subject, recipe: Recipe, data: Asked) -> dict[str, Any]:
    return {
        **{field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)},
        "subject": subject.name,
        "examples": len(data.x),
        "questions": list(data.answers),
        "seed": subject.seed,
        "dtype": subject.placement.dtype,
    }


def _write(
    out: Path, config: OracleConfig, weights: Any, adapter: dict[str, Any], tokenizer: TransformersTokenizer | None
) -> None:
    from safetensors.torch import save_file

    # As peft names them: without the name of the adapter, below its own wrapper.
    tensors = {
        f"base_model.model.{name.replace('.default.', '.')}": one.detach().contiguous() for name, one in weights.items()
    }
    save_file(tensors, out / ADAPTER)
    if tokenizer:
        with quiet():
            tokenizer.tokenizer.save_pretrained(out)
    # Last, because a folder with these files is recognised as an oracle.
    adapter |= {"base_model_name_or_path": config.model_name, "task_type": "CAUSAL_LM"}
    write_json(out / NAME, config.model_dump())
    write_json(out / ADAPTER_CONFIG, adapter)
