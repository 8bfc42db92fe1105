"""Every reader format as a kind of verbalizer: its options, and the way from a folder to an open verbalizer."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

from bridge.errors import BridgeError, ShapeError, UsageError
from bridge.progress import Progress
from bridge.readers.contract import ReaderFormat
from bridge.readers.locate import fingerprint, locate
from bridge.readers.reader import Reader, Sampling
from bridge.verbalizers import Recipe, Subject, Verbalizer, VerbalizerBackend, check_site

UNDECIDED = (
    "Its files do not say how a vector goes in: both ways are tried when it is first used; inject=add or "
    "inject=replace decides."
)


@dataclasses.dataclass(frozen=True)
class ReaderBackend(VerbalizerBackend):
    """A reader of some format, run by transformers.

    Attributes:
        checkpoint: Folder of the reader, as its format has it, or `hub:user/repo`.
        base: Folder or `hub:user/repo` of the base model of one that is an adapter; by default the one that it names.
        ar: Folder or `hub:user/repo` of the reconstructor, where it does not lie beside the reader.
        max_new_tokens: How many tokens may be written of a vector; what ends sooner costs less. None for the reader's
            own number.
        temperature: Of sampling; 0 always takes the likeliest token. None for the reader's own.
        samples: How many texts are drawn of a vector; its explanation is all of them, a line each. None likewise.
        batch: How many sequences are run at once; a direction in B backgrounds takes B, and 2 B in contrast. 0 for as
            many as suit the model's width: see `sequences_at_once`.
        any_site: Read vectors of another site than the files name.
        any_base: Put an adapter on a base model of another name than it was trained on.
        ask: What is asked of every vector, where the reader takes questions.
        inject: `add` or `replace`, where the files do not say how a vector goes in.
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
    """What describes the folder."""

    @classmethod
    def of_folder(cls, folder: Path) -> str:
        """Read the folders that the format recognises."""
        return f"checkpoint={folder}" if cls.format.recognises(folder) else ""

    def open(self, subject: Subject) -> Verbalizer:
        """Find all halves, and check what small files tell; the weights of each are loaded when it is first asked."""
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
        """Describe the reader from its small files alone, and hold it to the vectors' width."""
        self._check()
        reader = self._decided(self._described(), d_model)
        check_widths(reader, d_model, self.checkpoint, self.ar or self.checkpoint)
        length = reader.injection.length
        if isinstance(length, str):
            length = math.sqrt(d_model) if length == "sqrt_d" else length
        given = "" if length == "raw" else ", which are given the length of their place"
        given = f", which are given length {length:g}" if isinstance(length, float) else given
        lines = [f"AV of {self.checkpoint}: vectors of {d_model}{given}"]
        if reader.reconstruction:
            lines.append(f"AR of {self.ar or self.checkpoint}: vectors of {d_model}")
        if reader.alternatives:
            lines.append(UNDECIDED)
        return [*lines, *reader.notes]

    def trained_at(self) -> str:
        """Read the sites from the small files, separated by commas."""
        self._check()
        return "" if self.any_site else self._sites(self._described())

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train one as the format does."""
        return self.format.train(subject, recipe, out, progress)

    def _folders(self, model: str, wanted: tuple[str, ...]) -> tuple[Path, Path | None]:
        given = {"wanted": wanted} if wanted else {}
        root = locate(self.checkpoint, model, **given)
        return root, locate(self.ar, model, **given) if self.ar else None

    def _described(self) -> Reader:
        return self.format.describe(*self._folders("MODEL@SITE", self.format.headers))

    def _decided(self, reader: Reader, d_model: int) -> Reader:
        """Fill in what the files leave open and is known otherwise: the width, and how a vector goes in."""
        reader = dataclasses.replace(reader, d_model=reader.d_model or d_model)
        if not self.inject:
            return reader
        ways = [way for way in (reader.injection, *reader.alternatives) if way.how == self.inject]
        if not ways:
            known = " or ".join(f"inject={one.how}" for one in (reader.injection, *reader.alternatives))
            raise UsageError(
                f"{self.checkpoint} cannot be read with inject={self.inject}.",
                cause=f"Its files leave open no other way than {known}.",
                remedy="Leave inject out.",
            )
        return dataclasses.replace(reader, injection=ways[0], alternatives=())

    def _sites(self, reader: Reader) -> str:
        if self.any_site:
            return ""
        other = reader.reconstruction.site if reader.reconstruction else ""
        same = {site.removesuffix(".resid_post") for site in reader.sites}
        if other and same and other.removesuffix(".resid_post") not in same:
            raise BridgeError(
                f"The halves are of different sites: the AV of {', '.join(reader.sites)}, the AR of {other}.",
                cause="AV and AR are not of one autoencoder.",
                remedy="Give the AR that was trained with the AV, or say any_site=true.",
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
        folders = [Path(self.checkpoint).expanduser()] if not self.checkpoint.startswith("hub:") else []
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
        """Return what was asked for, as far as it can be judged without the reader."""
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
                remedy="They are 1, 0 and 0 at least.",
            )
        if samples < 1 or (samples > 1 and not temperature):
            raise UsageError(
                f"{self.name} cannot have samples={samples} at temperature={temperature:g}.",
                cause="At temperature 0 every sample is the same text.",
                remedy="Ask for one sample, or for more at a temperature above 0, such as 0.7.",
            )


def kind_of(fmt: ReaderFormat) -> type[ReaderBackend]:
    """Return the kind of verbalizer that runs the readers of a format: named as the format, with the common options.

    Args:
        fmt: The format.
    """
    said = {"name": fmt.name, "summary": fmt.summary, "format": fmt, "__doc__": type(fmt).__doc__}
    return dataclasses.dataclass(frozen=True)(type(f"{type(fmt).__name__}Kind", (ReaderBackend,), said))


def sequences_at_once(d_model: int) -> int:
    """Return how many sequences a model of a width decodes at once: 512 where it is narrow, 16 where it is wide.

    A step reads all weights and takes some milliseconds of Python, however many sequences share it; but keys and values
    of each fill memory in proportion to the width.
    """
    return max(16, min(512, 2**16 // d_model))


def check_widths(reader: Reader, d_model: int, av: str, ar: str, name: str = "the model") -> None:
    """Refuse a reader, or a reconstructor, of vectors of another width.

    Raises:
        ShapeError: Naming both widths.
    """
    widths = [(av, reader.d_model)] + ([(ar, reader.reconstruction.d_model)] if reader.reconstruction else [])
    for folder, width in widths:
        if width != d_model:
            raise ShapeError(
                f"{folder} explains vectors of {width} dimensions; those of {name} have {d_model}.",
                cause="It is the verbalizer of another model.",
                remedy=f"Train one: bridge verbalizer train --model {name} --out FOLDER.",
            )
