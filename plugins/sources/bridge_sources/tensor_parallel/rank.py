"""One rank of a divided model: `python -m torch.distributed.run ... -m bridge_sources.tensor_parallel.rank FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from bridge.models import Layout, Placement, Weights
from bridge.models.view import View
from bridge.references import Site, parse_site
from bridge_sources.tensor_parallel.ranks import POLL_SECONDS

if TYPE_CHECKING:
    from torch import Tensor, nn


def serve(folder: Path) -> None:
    """Load the model with the other ranks, and run requests until the process that started them ends."""
    import torch
    from safetensors.torch import load_file, save_file

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    rank, local, cuda = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), job["device"] == "cuda"
    device = f"cuda:{local}" if cuda else "cpu"
    if cuda:
        torch.cuda.set_device(local)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    adapter = resolve_name(job["family"])()
    module = adapter.load_module(Weights(*job["weights"]), Placement(device, job["dtype"])).eval()
    if not any(isinstance(weight, torch.distributed.tensor.DTensor) for weight in module.parameters()):
        raise RuntimeError("transformers divided no weight of this model.")
    layout = adapter.layout(module)
    sites = [parse_site(text, job["n_layers"]) for text in job["sites"]]
    if rank == 0:
        (folder / "ready").touch()
    number = 0
    while _is_alive(job["parent"]):
        request = folder / f"request-{number}"
        if not request.exists():
            time.sleep(POLL_SECONDS)
            continue
        asked = load_file(request)
        inputs = {"input_ids": asked["ids"].to(device), "attention_mask": asked["mask"].to(device)}
        if adapter.causal:
            inputs["use_cache"] = False
        wanted = [sites[place] for place in asked["sites"].tolist()]
        shape = (*asked["ids"].shape, job["d_model"])
        with torch.inference_mode():
            found = read(module, layout, wanted, shape, inputs)
        torch.distributed.barrier()  # all ranks have read the request
        if rank == 0:
            answer = {str(place): found[site].cpu().contiguous() for place, site in enumerate(wanted)}
            save_file(answer, folder / "writing")
            request.unlink()
            (folder / "writing").replace(folder / f"answer-{number}")
        number += 1


def read(
    module: nn.Module, layout: Layout, sites: Sequence[Site], shape: tuple[int, ...], inputs: Mapping[str, Any]
) -> dict[Site, Tensor]:
    """Run a batch and keep the sites' activations, with hooks of torch.

    nnsight replaces the forward methods of modules, and with them the conversions that transformers put there. The
    pass is not cut short, so that all ranks leave it together.
    """
    found: dict[Site, Tensor] = {}

    def keep(site: Site, value: Any) -> None:
        first = value[0] if isinstance(value, (tuple, list)) else value
        view = View(shape, layout.streams(site), site.stream, site.is_module)
        # A clone, because later modules of some architectures change the residual stream in place.
        found[site] = view.read(first).clone()

    with ExitStack() as hooks:
        for site in sites:
            path, side = layout.locate(site)
            there = module.get_submodule(path)
            if side == "output":
                hook = there.register_forward_hook(lambda _, args, output, site=site: keep(site, output))
            else:
                hook = there.register_forward_pre_hook(
                    lambda _, args, named, site=site: keep(site, args[0] if args else next(iter(named.values()))),
                    with_kwargs=True,
                )
            hooks.callback(hook.remove)
        module(**inputs)
    return found


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
