"""What the kinds of served verbalizers share: their options, and the way from a checkpoint to an open verbalizer."""

from __future__ import annotations

import dataclasses
import json
import math
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from bridge.errors import ShapeError, UsageError
from bridge.readers import Reader, halves
from bridge.verbalizers import Subject, Verbalizer, VerbalizerBackend, check_site

if TYPE_CHECKING:
    from bridge_verbalizers.serving.protocol import Protocol


@dataclasses.dataclass(frozen=True)
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
        from bridge.readers.locate import fingerprint, locate
        from bridge_verbalizers.nla.format import NLAFormat
        from bridge_verbalizers.serving.client import run
        from bridge_verbalizers.serving.health import check_server
        from bridge_verbalizers.serving.journal import journal_of
        from bridge_verbalizers.serving.prompt import read_config, read_prompt
        from bridge_verbalizers.serving.verbalizer import ServedVerbalizer

        self._check()
        folder, _ = halves(locate(self.checkpoint, subject.name))
        reader = dataclasses.replace(NLAFormat().describe(folder), reconstruction=None)
        refuse_unserved(folder, reader, self.name)
        site = "" if self.any_site else ",".join(reader.sites)
        check_site(site, subject.site, subject.n_layers, f"The verbalizer in {self.checkpoint}")
        if reader.d_model != subject.d_model:
            raise ShapeError(
                f"{folder} explains vectors of {reader.d_model} dimensions; those of {subject.name} have "
                f"{subject.d_model}.",
                cause="It is the verbalizer of another model.",
            )
        config = read_config(folder)
        kind = str(config.get("model_type"))
        prompt, protocol, launch = read_prompt(folder, reader, config), self.protocol(), self.launch(folder, kind)
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
            reader.prompt.placeholder,
            journal,
            concurrency=self.concurrency,
            timeout=self.timeout,
        )

    def trained_at(self) -> str:
        """Read the site from the AV's sidecar."""
        from bridge.readers.locate import locate
        from bridge_verbalizers.nla.format import NLAFormat

        self._check()
        if self.any_site:
            return ""
        folder, _ = halves(locate(self.checkpoint, "MODEL@SITE", NLAFormat.headers))
        return ",".join(NLAFormat().describe(folder).sites)

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


def refuse_unserved(folder: Path, reader: Reader, kind: str) -> None:
    """Refuse a reader that a server cannot run: it takes embeddings, and has no hook into a block.

    Raises:
        UsageError: If vectors go in elsewhere, are added, or the weights are an adapter.
    """
    injection, why = reader.injection, ""
    if injection.block is not None or injection.how != "replace" or injection.length == "place":
        why = f"its vectors are {'added to' if injection.how == 'add' else 'put into'} the stream within the model"
    elif reader.weights.adapter or (folder / "adapter_config.json").is_file():
        why = "it is an adapter on a base model"
    elif reader.prompt.asks or reader.vector_map:
        why = "its prompt or its vectors are not fixed"
    if why:
        raise UsageError(
            f"{folder} cannot be run by {kind}: {why}.",
            cause="A server is sent embeddings, and reads nothing else.",
            remedy="Run it by transformers: --verbalizer FOLDER.",
        )
