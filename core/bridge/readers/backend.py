"""Reader formats as kinds of verbalizers: their common options, and opening a reader from its folder."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

from bridge.errors import BridgeError, ShapeError, UsageError
from bridge.files import expand_user
from bridge.progress import Progress
from bridge.readers.contract import ReaderFormat
from bridge.readers.locate import fingerprint, locate
from bridge.readers.reader import Reader, Sampling
from bridge.verbalizers import Recipe, Subject, Verbalizer, VerbalizerBackend, check_site

UNDECIDED = (
    "Its files do not say how a vector is injected: a probe decides at the first use, unless inject=add or "
    "inject=replace is given."
)


@dataclasses.dataclass(frozen=True)
class ReaderBackend(VerbalizerBackend):
    """A reader of one format, run with transformers.

    Attributes:
        checkpoint: Folder of the reader, or `hub:user/repo`.
        base: Folder or `hub:user/repo` of an adapter's base model; default: the base model that the adapter names.
        ar: Folder or `hub:user/repo` of the reconstructor, if it is not in the reader's folder.
        max_new_tokens: Token limit of an explanation; None for the reader's own limit.
        temperature: Sampling temperature; 0 always takes the most likely token. None for the reader's own.
        samples: Number of texts sampled for each vector; the explanation has one line for each. None for the reader's
            own number.
        batch: Number of sequences per batch; a direction in B backgrounds has B sequences, and 2 B with contrast. 0
            for a number by the width of the model: see `sequences_at_once`.
        any_site: Accept vectors of another site than the files name.
        any_base: Accept a base model with another name than the adapter names.
        ask: The question about every vector, for readers that take questions.
        inject: `add` or `replace`, if the files do not say how a vector is injected.
    """

    needs_checkpoint = True

    checkpoint: str = ""
    base: str = ""
    ar: str = ""
    max_new_tokens: int | None = None
    temperature: float | None = None
    samples: int | None = None
    batch: int = 0
    any_site: bool = False
    any_base: bool = False
    ask: str = ""
    inject: str = ""

    format: ClassVar[ReaderFormat]
    """The format that describes the folder."""

    @classmethod
    def of_folder(cls, folder: Path) -> str:
        """Return the option for a folder that the format recognises."""
        return f"checkpoint={folder}" if cls.format.recognises(folder) else ""

    def open(self, subject: Subject) -> Verbalizer:
        """Locate the reader and its reconstructor and check their small files; weights are loaded at the first use."""
        from bridge.readers.bodies import Bodies
        from bridge.readers.verbalizer import Asked, ReaderVerbalizer

        self._check()
        root, ar = self._folders(subject.name, ())
        reader = self._decided(self.format.describe(root, ar), subject.d_model)
        check_site(self._sites(reader), subject.site, subject.n_layers, f"The verbalizer in {self.checkpoint}")
        check_widths(reader, subject.d_model, str(root), str(ar or root), subject.name)
        sampling = self._sampling(reader)
        asked = Asked(
            sampling=sampling,
            question=self.ask,
            layer=None if subject.site.is_module else subject.site.layer,
            batch=self.batch or sequences_at_once(subject.d_model),
            seed=subject.seed,
            identity=self._identity(reader, subject),
        )
        return ReaderVerbalizer(reader, Bodies(self.base, self.any_base, subject.placement), asked)

    def preview(self, d_model: int) -> list[str]:
        """Describe the reader from its small files, and check the width of the vectors."""
        self._check()
        reader = self._decided(self._described(), d_model)
        check_widths(reader, d_model, self.checkpoint, self.ar or self.checkpoint)
        length = reader.injection.length
        if isinstance(length, str):
            length = math.sqrt(d_model) if length == "sqrt_d" else length
        given = "" if length == "raw" else ", scaled to the norm of the replaced activation"
        given = f", scaled to length {length:g}" if isinstance(length, float) else given
        lines = [f"AV of {self.checkpoint}: vectors of {d_model}{given}"]
        if reader.reconstruction:
            lines.append(f"AR of {self.ar or self.checkpoint}: vectors of {d_model}")
        if reader.alternatives:
            lines.append(UNDECIDED)
        return [*lines, *reader.notes]

    def trained_at(self) -> str:
        """Return the sites in the small files, separated by commas."""
        self._check()
        return "" if self.any_site else self._sites(self._described())

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train a reader of the format."""
        return self.format.train(subject, recipe, out, progress)

    def _folders(self, model: str, wanted: tuple[str, ...]) -> tuple[Path, Path | None]:
        given = {"wanted": wanted} if wanted else {}
        root = locate(self.checkpoint, model, **given)
        return root, locate(self.ar, model, **given) if self.ar else None

    def _described(self) -> Reader:
        return self.format.describe(*self._folders("MODEL@SITE", self.format.headers))

    def _decided(self, reader: Reader, d_model: int) -> Reader:
        """Set what the files leave open: the width, and the injection if the option `inject` is given."""
        reader = dataclasses.replace(reader, d_model=reader.d_model or d_model)
        if not self.inject:
            return reader
        ways = [way for way in (reader.injection, *reader.alternatives) if way.how == self.inject]
        if not ways:
            known = " or ".join(f"inject={one.how}" for one in (reader.injection, *reader.alternatives))
            raise UsageError(
                f"{self.checkpoint} cannot be used with inject={self.inject}.",
                cause=f"Its files allow only {known}.",
                remedy="Leave the option inject out.",
            )
        return dataclasses.replace(reader, injection=ways[0], alternatives=())

    def _sites(self, reader: Reader) -> str:
        if self.any_site:
            return ""
        other = reader.reconstruction.site if reader.reconstruction else ""
        same = {site.removesuffix(".resid_post") for site in reader.sites}
        if other and same and other.removesuffix(".resid_post") not in same:
            raise BridgeError(
                f"AV and AR have different sites: the AV has {', '.join(reader.sites)}, the AR has {other}.",
                cause="AV and AR do not belong to the same autoencoder.",
                remedy="Use the AR that was trained with the AV, or set any_site=true.",
            )
        return other or ",".join(reader.sites)

    def _sampling(self, reader: Reader) -> Sampling:
        given = {name: getattr(self, name) for name in ("max_new_tokens", "temperature", "samples")}
        found = dataclasses.replace(
            reader.sampling, **{name: value for name, value in given.items() if value is not None}
        )
        self._refuse(found)
        return found

    def _identity(self, reader: Reader, subject: Subject) -> str:
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        folders = [expand_user(self.checkpoint)] if not self.checkpoint.startswith("hub:") else []
        for weights in (reader.weights, reader.reconstruction.weights if reader.reconstruction else None):
            if weights:
                folders += [weights.folder or (weights.adapter.file.parent if weights.adapter else Path())]
        files = [fingerprint(folder) for folder in dict.fromkeys(folders)]
        layer = subject.site if "{layer}" in str(reader.prompt) else ""
        return f"{self.name} {options} {subject.placement} {subject.seed} {layer} {' '.join(files)}"

    def _check(self) -> None:
        if not self.checkpoint:
            raise UsageError(
                f"The verbalizer {self.name} needs a checkpoint.",
                remedy=f"Write {self.name}:checkpoint=FOLDER, or {self.name}:checkpoint=hub:user/repo.",
            )
        self._refuse(self._sampling_as_given())

    def _sampling_as_given(self) -> Sampling:
        """Return the sampling options as given, with values for the missing ones that pass the checks."""
        tokens = 1 if self.max_new_tokens is None else self.max_new_tokens
        drawn = (self.samples or 0) > 1
        return Sampling(
            max_new_tokens=tokens,
            temperature=self.temperature if self.temperature is not None else (1.0 if drawn else 0.0),
            samples=1 if self.samples is None else self.samples,
        )

    def _refuse(self, asked: Sampling) -> None:
        tokens, temperature, samples = asked.max_new_tokens, asked.temperature, asked.samples
        if tokens < 1 or self.batch < 0 or not 0 <= temperature < math.inf:
            raise UsageError(
                f"{self.name} cannot have max_new_tokens={tokens}, batch={self.batch} and temperature={temperature:g}.",
                remedy="The smallest allowed values are 1, 0 and 0.",
            )
        if samples < 1 or (samples > 1 and not temperature):
            raise UsageError(
                f"{self.name} cannot have samples={samples} at temperature={temperature:g}.",
                cause="At temperature 0 every sample is the same text.",
                remedy="Use samples=1, or a temperature above 0, such as 0.7.",
            )


def kind_of(fmt: ReaderFormat) -> type[ReaderBackend]:
    """Return the kind of verbalizer for the readers of a format; it has the name of the format and the common options.

    Args:
        fmt: The format.
    """
    said = {"name": fmt.name, "summary": fmt.summary, "format": fmt, "__doc__": type(fmt).__doc__}
    return dataclasses.dataclass(frozen=True)(type(f"{type(fmt).__name__}Kind", (ReaderBackend,), said))


def sequences_at_once(d_model: int) -> int:
    """Return the default batch size for decoding: between 16 for wide models and 512 for narrow ones.

    The time to read the weights and the overhead of Python are the same for any batch size; the memory for keys and
    values grows with the batch size and the width.
    """
    return max(16, min(512, 2**16 // d_model))


def check_widths(reader: Reader, d_model: int, av: str, ar: str, name: str = "the model") -> None:
    """Refuse a reader or reconstructor for vectors of another width.

    Raises:
        ShapeError: The message has both widths.
    """
    widths = [(av, reader.d_model)] + ([(ar, reader.reconstruction.d_model)] if reader.reconstruction else [])
    for folder, width in widths:
        if width != d_model:
            raise ShapeError(
                f"{folder} explains vectors of {width} dimensions; vectors of {name} have {d_model}.",
                cause="It is the verbalizer of another model.",
                remedy=f"Train one: bridge verbalizer train --model {name} --out FOLDER.",
            )
