"""Base class of served verbalizers: their options, and opening a verbalizer from a checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bridge.errors import ShapeError, UsageError
from bridge.readers import Reader, halves
from bridge.verbalizers import Subject, Verbalizer, VerbalizerBackend, check_site
from bridge_verbalizers.serving.server import Server, port_of, urls_of

if TYPE_CHECKING:
    from bridge_verbalizers.serving.protocol import Protocol


@dataclasses.dataclass(frozen=True)
class ServedNLA(VerbalizerBackend):
    """An AV of the released layout in servers; its tokenizer, sidecar and embeddings are read by the client.

    Attributes:
        checkpoint: Folder of the AV, or a folder with the subfolder `av/`; or `hub:user/repo`.
        url: Address of the server, or addresses with blanks between them: `http://a:8000 http://b:8000`.
        max_new_tokens: Maximal number of new tokens per vector.
        temperature: Sampling temperature; 0 always chooses the likeliest token. The first sampled text is kept.
        concurrency: Maximal number of concurrent requests per server.
        timeout: Maximal time of a request in seconds, before it is repeated.
        any_site: Accept vectors of another site than the site in the sidecar.
    """

    checkpoint: str = ""
    url: str = ""
    max_new_tokens: int = 200
    temperature: float = 0.0
    concurrency: int = 16
    timeout: float = 120.0
    any_site: bool = False

    server: ClassVar[str]
    """Name of the server software."""

    @abstractmethod
    def launch(self, folder: Path, model_type: str, port: int) -> str:
        """Write the command that starts a server at a port."""

    @abstractmethod
    def protocol(self) -> Protocol:
        """Return the protocol of a server, which is not shared with another one."""

    def open(self, subject: Subject) -> Verbalizer:
        """Read the prompt and its embeddings, and check that the servers run this AV and read the embeddings."""
        from bridge.readers.locate import fingerprint, locate
        from bridge_verbalizers.nla.format import NLAFormat
        from bridge_verbalizers.serving.client import run
        from bridge_verbalizers.serving.health import check_servers
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
        prompt = read_prompt(folder, reader, config)
        servers = [
            Server(self.server, url, self.launch(folder, kind, port_of(url)), self.protocol())
            for url in urls_of(self.url)
        ]
        left_out = run(check_servers(servers, folder, prompt, self.timeout, self.likely_cause(kind)))
        # No address: another server of the same AV continues with the same answers.
        options = [1, self.name, self.max_new_tokens, self.temperature, subject.seed if self.temperature else 0]
        journal = journal_of(
            json.dumps(options).encode(),
            fingerprint(folder).encode(),
            prompt.rows.float().numpy().tobytes(),
        )
        return ServedVerbalizer(
            [server for server in servers if server not in left_out],
            left_out,
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
        """Return a likely reason why the server ignores embeddings."""
        return "Its version does not support them for this model."

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
        urls_of(self.url)


def refuse_unserved(folder: Path, reader: Reader, kind: str) -> None:
    """Refuse a reader that a server cannot run: a server accepts embeddings, and has no hooks into blocks.

    Raises:
        UsageError: If vectors do not replace an embedding, or the weights are an adapter.
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
