"""What the kinds of served verbalizers share: their options, and the way from a checkpoint to an open verbalizer."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from bridge.errors import ShapeError, UsageError
from bridge.verbalizers import Subject, Verbalizer, VerbalizerBackend, check_site

if TYPE_CHECKING:
    from bridge_verbalizers.serving.protocol import Protocol


@dataclass(frozen=True)
class ServedNLA(VerbalizerBackend):
    """An AV of the released layout that a server runs; its tokenizer, sidecar and embeddings are read on this side.

    Attributes:
        checkpoint: Folder of the AV, or one that holds it as `av/`; or `hub:user/repo`.
        url: Where the server is.
        max_new_tokens: How many tokens may be written of a vector.
        temperature: Of sampling; 0 always takes the likeliest token. Of a sampled text the first one is kept.
        concurrency: How many requests may be under way at once.
        timeout: How long one may take, in seconds, before it is asked again.
        any_site: Read vectors of another site than the sidecar names.
    """

    checkpoint: str = ""
    url: str = ""
    max_new_tokens: int = 200
    temperature: float = 0.0
    concurrency: int = 16
    timeout: float = 120.0
    any_site: bool = False

    server: ClassVar[str]
    """What the server is called."""

    @abstractmethod
    def launch(self, folder: Path, model_type: str) -> str:
        """Write the command that starts the server."""

    @abstractmethod
    def protocol(self) -> Protocol:
        """Say how the server is spoken to."""

    def open(self, subject: Subject) -> Verbalizer:
        """Read the prompt and its embeddings, and check that the server runs this AV and reads what it is sent."""
        from bridge_verbalizers.nla.checkpoint import fingerprint, halves
        from bridge_verbalizers.nla.sidecar import read_sidecar
        from bridge_verbalizers.serving.client import run
        from bridge_verbalizers.serving.health import check_server
        from bridge_verbalizers.serving.journal import journal_of
        from bridge_verbalizers.serving.prompt import read_config, read_prompt
        from bridge_verbalizers.serving.verbalizer import ServedVerbalizer

        self._check()
        folder, _ = halves(self.checkpoint, "", subject.name)
        sidecar = read_sidecar(folder, "av")
        site = "" if self.any_site else sidecar.site
        check_site(site, subject.site, subject.n_layers, f"The verbalizer in {self.checkpoint}")
        if sidecar.d_model != subject.d_model:
            raise ShapeError(
                f"{folder} explains vectors of {sidecar.d_model} dimensions; those of {subject.name} have "
                f"{subject.d_model}.",
                cause="It is the verbalizer of another model.",
            )
        config = read_config(folder)
        kind = str(config.get("model_type"))
        prompt, protocol, launch = read_prompt(folder, sidecar, config), self.protocol(), self.launch(folder, kind)
        run(
            check_server(protocol, self.server, self.url, folder, prompt, launch, self.timeout, self.likely_cause(kind))
        )
        options = [1, self.name, self.max_new_tokens, self.temperature, subject.seed if self.temperature else 0]
        journal = journal_of(
            json.dumps(options).encode(),
            fingerprint(folder).encode(),
            prompt.rows.float().numpy().tobytes(),
        )
        return ServedVerbalizer(
            protocol,
            self.url,
            launch,
            prompt,
            sidecar.tokens.injection_char,
            journal,
            concurrency=self.concurrency,
            timeout=self.timeout,
        )

    def trained_at(self) -> str:
        """Read the site from the AV's sidecar."""
        from bridge_verbalizers.nla.checkpoint import AV, halves
        from bridge_verbalizers.nla.sidecar import NAME, read_sidecar

        self._check()
        if self.any_site:
            return ""
        folder, _ = halves(self.checkpoint, "", "MODEL@SITE", (NAME, f"*/{NAME}"))
        return read_sidecar(folder, AV).site if (folder / NAME).is_file() else ""

    def likely_cause(self, model_type: str) -> str:
        """Say why a server may drop the embeddings that it is sent."""
        return "Its version does not support them for this model."

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        address = urlsplit(self.url)
        return address.port or (443 if address.scheme == "https" else 80)

    def _check(self) -> None:
        if not self.checkpoint:
            raise UsageError(
                f"The verbalizer {self.name} needs a checkpoint.",
                remedy=f"Write {self.name}:checkpoint=FOLDER,url={self.url}.",
            )
        counts = min(self.max_new_tokens, self.concurrency)
        if counts < 1 or not 0 < self.timeout < math.inf or not 0 <= self.temperature < math.inf:
            raise UsageError(
                f"{self.name} cannot have max_new_tokens={self.max_new_tokens}, concurrency={self.concurrency}, "
                f"timeout={self.timeout:g} and temperature={self.temperature:g}.",
                remedy="The first two are 1 at least, the timeout above 0, and the temperature 0 at least.",
            )
        try:
            address = urlsplit(self.url)
            sound = address.scheme in ("http", "https") and bool(address.hostname) and self.port > 0
        except ValueError:
            sound = False
        if not sound:
            raise UsageError(f"{self.url!r} is no address of a server.", remedy="Give one like http://127.0.0.1:8000.")
