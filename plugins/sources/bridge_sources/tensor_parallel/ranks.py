"""The processes of a divided model: started by torchrun, asked and answered through safetensors files in one folder.

Every rank reads each request and runs it; rank 0 writes the answer. A rank that fails ends all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from bridge.corpus import Document
from bridge.errors import ModelError
from bridge.models import Placement
from bridge.pairing import Encoded
from bridge.references import Site
from bridge.sources import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor

POLL_SECONDS = 0.001
LAST_LINES = 3
"""Number of lines of the ranks' log that an error shows."""


@final
class Ranks:
    """The open source: runs batches on all ranks.

    Args:
        model: The model.
        folder: Holds requests, answers and the log.
        process: torchrun.
        sites: All sites that may be asked for.
    """

    def __init__(
        self, model: Checkpoint, folder: Path, process: subprocess.Popen[bytes], sites: Sequence[Site]
    ) -> None:
        self.name, self.d_model = model.name, model.info.d_model
        self._tokenizer = model.adapter.tokenizer(model.weights)
        self._folder, self._process, self._sites, self._number = folder, process, list(sites), 0

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Tokenise documents."""
        return self._tokenizer.encode(documents, max_tokens)

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run a padded batch on all ranks.

        Raises:
            ModelError: If a rank failed.
        """
        import torch
        from safetensors.torch import load_file, save_file

        number, self._number = self._number, self._number + 1
        wanted = torch.tensor([self._sites.index(site) for site in sites])
        unfinished = self._folder / "unfinished"
        save_file({"ids": ids.contiguous(), "mask": mask.contiguous(), "sites": wanted}, unfinished)
        unfinished.replace(self._folder / f"request-{number}")
        answer = self._folder / f"answer-{number}"
        self.wait_for(answer)
        found = load_file(answer)
        answer.unlink()
        return [found[str(place)] for place in range(len(sites))]

    def wait_for(self, path: Path) -> None:
        """Wait until the ranks have written a file.

        Raises:
            ModelError: If they ended before.
        """
        while not path.exists():
            if self._process.poll() is not None and not path.exists():
                log = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
                said = [line for line in log.splitlines() if "Error" in line][-LAST_LINES:]
                raise ModelError(
                    f"The ranks of {self.name} ended: {' / '.join(said) or f'exit {self._process.returncode}'}.",
                    cause="A rank failed; a lack of memory in one of them ends all, because they wait for each other.",
                    remedy="Lower --batch-size, give more ranks, or use the source transformers.",
                )
            time.sleep(POLL_SECONDS)


@contextmanager
def open_ranks(model: Checkpoint, sites: Sequence[Site], placement: Placement, count: int) -> Iterator[Ranks]:
    """Start torchrun, wait until the model is loaded, and stop it at the end.

    Raises:
        ModelError: If a rank failed.
    """
    adapter = type(model.adapter)
    job = {
        "family": f"{adapter.__module__}:{adapter.__qualname__}",
        "weights": [model.weights.source, model.weights.revision],
        "device": placement.torch_device().partition(":")[0],
        "dtype": placement.dtype,
        "sites": [str(site) for site in sites],
        "n_layers": model.info.n_layers,
        "d_model": model.info.d_model,
        "parent": os.getpid(),
    }
    with tempfile.TemporaryDirectory(prefix="bridge-ranks-") as temporary:
        folder = Path(temporary)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*torchrun, "-m", "bridge_sources.tensor_parallel.rank", temporary],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                ranks = Ranks(model, folder, process, sites)
                ranks.wait_for(folder / "ready")
                yield ranks
            finally:
                process.terminate()
                process.wait()
