"""Train an activation reconstructor: it predicts the direction of the activation from the text before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.geometry import unit_rows
from bridge.models import TransformersTokenizer
from bridge.models.transformers_adapter import quiet
from bridge.readers.body import last_hidden, truncate
from bridge_verbalizers.nla.layout import AR, HEAD
from bridge_verbalizers.nla.sidecar import Extraction, Sidecar, Tokens, write_sidecar
from bridge_verbalizers.training.adapters import add_adapters, merge_adapters, mixed_precision, train
from bridge_verbalizers.training.examples import TrainingSet
from bridge_verbalizers.training.job import Job
from bridge_verbalizers.training.tokens import transformers_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATE = "<text>{explanation}</text> <summary>"
Floats = NDArray[np.float32]


def train_ar(job: Job, data: TrainingSet) -> dict[str, float]:
    """Train, merge and write a reconstructor; return its agreement with held-out activations."""
    import torch
    from safetensors.torch import save_file

    subject, recipe, out = job.subject, job.recipe, job.out / AR
    loaded = subject.load()
    module: Any = loaded.module
    tokenizer = transformers_tokenizer(loaded)
    truncate(module, subject.site.layer + 1)
    torch.manual_seed(subject.seed)
    weights: dict[str, Any] = dict(add_adapters(module, recipe.rank))
    head = torch.nn.Linear(subject.d_model, subject.d_model, bias=False, device=module.device)
    torch.nn.init.eye_(head.weight)
    weights["value_head"] = head.weight
    ids = {kind: [prompt(tokenizer, text) for text in getattr(data, kind).texts] for kind in ("rows", "held_out")}
    order = np.random.default_rng(subject.seed)
    draws = [order.integers(len(ids["rows"]), size=recipe.batch) for _ in range(recipe.steps)]

    def step_loss(step: int) -> Tensor:
        rows = draws[step]
        with mixed_precision(module, subject.placement):
            predicted = last_hidden(module, [ids["rows"][row] for row in rows])
        wanted = torch.nn.functional.normalize(torch.from_numpy(data.rows.x[rows])).to(predicted.device)
        # The squared error of unit vectors is 2 (1 - cos): the reconstructor learns directions only.
        return 2 * (1 - (torch.nn.functional.normalize(head(predicted.float())) * wanted).sum(1)).mean()

    module.train()
    train(weights, step_loss, recipe.steps, recipe.lr, job.checkpoint(AR), job.identity, job.progress, "AR")
    merge_adapters(module)
    module.eval()
    rebuilt = []
    with torch.inference_mode():
        for start in range(0, len(ids["held_out"]), 32):
            rebuilt.append(head(last_hidden(module, ids["held_out"][start : start + 32]).float()).cpu().numpy())
    measured = agreement(data.held_out.x, np.concatenate(rebuilt), data.mean)
    with quiet():
        module.to(torch.bfloat16).save_pretrained(out)
        tokenizer.tokenizer.save_pretrained(out)
    save_file({"weight": head.weight.detach().contiguous()}, out / HEAD)
    suffix = tokenizer.tokenizer.encode(TEMPLATE.partition("{explanation}")[2], add_special_tokens=False)
    site = subject.site
    extraction = Extraction(injection_scale=None, layer_index=site.layer, point=site.point, base_model=subject.name)
    tokens = Tokens(critic_suffix_ids=suffix[1:])
    sidecar = Sidecar(
        role="ar", d_model=subject.d_model, extraction=extraction, tokens=tokens, prompt_templates={"ar": TEMPLATE}
    )
    write_sidecar(out, sidecar, {**job.identity, "held_out": measured})
    return measured


def prompt(tokenizer: TransformersTokenizer, text: str) -> list[int]:
    """Return the ids of a text's prompt, with BOS if the model has one."""
    return tokenizer.prompt(TEMPLATE.replace("{explanation}", text))


def agreement(wanted: Floats, found: Floats, mean: Floats) -> dict[str, float]:
    """Compare directions: the mean cosine, and the fraction of variance explained relative to predicting the mean.

    All vectors, (n, d_model), and the mean, (d_model,), are first scaled to unit norm. `fve` is relative to the mean at
    unit norm, `fve_nrm` to the variance of the unit vectors, as in the cards of released models.
    """
    true = unit_rows(wanted)
    error, baseline = (float(np.square(true - unit_rows(other)).sum(1).mean()) for other in (found, mean))
    variance = float(np.square(true - true.mean(0)).sum(1).mean())
    return {
        "cosine": 1 - error / 2,
        "cosine_mean_vector": 1 - baseline / 2,
        "fve": 1 - error / baseline,
        "fve_nrm": 1 - error / variance,
    }
