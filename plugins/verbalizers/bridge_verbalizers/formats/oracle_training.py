"""Train an activation oracle: a low-rank adapter with which a model answers questions about its own activations."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from bridge.errors import ModelError, UsageError
from bridge.files import write_json
from bridge.models import Placement, TransformersTokenizer
from bridge.models.transformers_adapter import quiet
from bridge.progress import Progress
from bridge.readers.prompt import Placed, placed
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.formats.files import ADAPTER, ADAPTER_CONFIG
from bridge_verbalizers.formats.oracle_config import NAME, PLACE, OracleConfig, prompt_of
from bridge_verbalizers.formats.oracle_questions import SEVERAL, WORD, Asked, gather_questions
from bridge_verbalizers.training.adapters import add_adapters, lora_config, mixed_precision, train
from bridge_verbalizers.training.batches import schedule
from bridge_verbalizers.training.job import Job
from bridge_verbalizers.training.loss import Candidates, Floats, adding, against_baselines, candidates, loss
from bridge_verbalizers.training.tokens import CHAT_TEMPLATE, response, transformers_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

BLOCK = 1
"""The block to whose output vectors are added (Activation Oracles, arXiv 2512.15674, section 2)."""

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
    answering = _Loss(module, {kind: _placed(read, config, subject, kind) for kind in kinds}, subject.placement)
    adapter = lora_config(module, recipe.rank)
    job = Job(subject, recipe, out, progress, {"examples": len(data.x), "questions": list(data.answers)})
    weights = _fit(answering, data, read, job)
    measured = _measured(answering, tested, read)
    _write(out, config, weights, adapter, None if templated else read)
    return measured


@final
@dataclasses.dataclass(frozen=True)
class _Loss:
    """The loss of answers about vectors.

    Attributes:
        module: The model, with its adapter.
        prompts: The prompt of each kind of question.
        placement: The dtype of products.
    """

    module: Any
    prompts: Mapping[Kind, Placed]
    placement: Placement

    def __call__(self, kind: Kind, x: Floats, answers: Sequence[list[int]], among: Candidates | None) -> Tensor:
        """Return the mean cross-entropy of answers about vectors, (batch, vectors, d_model), in nats per token."""
        import torch

        prompt = self.prompts[kind]
        with mixed_precision(self.module, self.placement):
            inject = adding(self.module, prompt.places, BLOCK)
            return loss(self.module, prompt.ids, inject, torch.from_numpy(x), answers, among)


def _fit(answering: _Loss, data: Asked, read: TransformersTokenizer, job: Job) -> dict[str, Parameter]:
    """Add an adapter to the model and train it; return its weights."""
    import torch

    subject, recipe, module = job.subject, job.recipe, answering.module
    ids = {question: [response(read, text) for text in texts] for question, texts in data.answers.items()}
    lengths = {kind: [len(one) for one in ids[kind[0]]] for kind in answering.prompts}
    plan = schedule(lengths, recipe.steps, recipe.batch, subject.seed)
    torch.manual_seed(subject.seed)
    weights = add_adapters(module, recipe.rank)
    known = np.unique([token for some in ids.values() for one in some for token in one])
    vocabulary = module.get_output_embeddings().weight.shape[0]

    def step_loss(step: int) -> Tensor:
        kind, rows = plan[step]
        among = candidates(known, vocabulary, [subject.seed, step])
        return answering(kind, data.x[rows, -kind[1] :], [ids[kind[0]][row] for row in rows], among)

    module.train()
    saved = job.checkpoint("oracle")
    train(weights, step_loss, recipe.steps, recipe.lr, saved, job.identity, job.progress, "oracle")
    module.eval()
    return weights


def _title(kind: Kind) -> str:
    question, count = kind
    return f"{question} ({count} vectors)" if count > 1 else question


def _measured(answering: _Loss, tested: Asked, read: TransformersTokenizer) -> dict[str, Any]:
    """Measure each kind of question on its own share of the examples: large vocabularies make it slow."""
    import torch

    found: dict[str, Any] = {}
    for number, kind in enumerate(answering.prompts):
        share = slice(number % len(tested.x), None, len(answering.prompts))
        answers = [response(read, text) for text in tested.answers[kind[0]][share]]
        measure = partial(_number, answering, kind)
        with torch.inference_mode():
            found[_title(kind)] = against_baselines(tested.x[share, -kind[1] :], tested.mean, answers, measure)
    return found


def _number(answering: _Loss, kind: Kind, x: Floats, answers: Sequence[list[int]]) -> float:
    return float(answering(kind, x, answers, None))


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
