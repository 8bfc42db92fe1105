"""The contract of verbalizer plugins: from activation vectors to text, and back where a reconstructor exists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, ShapeError, UsageError
from bridge.progress import Progress
from bridge.references import Site, parse_site
from bridge.verbalizers.lens import LensRecipe, LensSubject
from bridge.verbalizers.subject import Recipe, Subject


@final
@dataclass(frozen=True)
class Explanation:
    """A verbalizer's explanation of one vector.

    Attributes:
        text: The explanation; untrusted, since a model wrote it.
        flags: Defects of the text (`truncated`, `untagged`, `empty`, `foreign_script`); scores count them.
    """

    text: str
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Blends:
    """Directions mixed into backgrounds: all blends of a direction together give one explanation.

    Attributes:
        vectors: Every direction in every background, (n, backgrounds, d_model) float32.
        backgrounds: The backgrounds alone, (backgrounds, d_model) float32.
        beta: Weight of the backgrounds' own log-probabilities in the subtraction; 0 subtracts nothing.
    """

    vectors: NDArray[np.float32]
    backgrounds: NDArray[np.float32]
    beta: float = 0.0


class Verbalizer(ABC):
    """Explains vectors of one model at one site; a `VerbalizerBackend` makes it.

    Laws, checked by `bridge.testing.check_verbalizer`:
        - Each vector gets one explanation, in order; the same vectors give the same explanations.
        - Vectors of another width raise a `ShapeError`.
        - A zero, NaN or infinite vector has no direction and raises a `BridgeError`.
        - `explain_blends` with a single background and beta 0 equals `explain` of the blends.
        - `notes` returns a list of texts.
    """

    d_model: int
    """Width of the vectors that the verbalizer reads."""

    reconstructs: bool = False
    """Whether the verbalizer has an activation reconstructor."""

    at_once: int = 0
    """Best number of sequences per call: a vector is one sequence; a direction has one per blend and one per subtracted
    background. Callers with more sequences split them and keep each call's result; 0 for any number."""

    identity: str = ""
    """Everything besides the inputs that explanations and reconstructions depend on: weights, options, seed. If it is
    set, results are cached, and an interrupted run does not compute them again; empty if computing them is cheap."""

    @abstractmethod
    def explain(self, vectors: NDArray[np.float32]) -> list[Explanation]:
        """Explain vectors of shape (n, d_model), float32.

        Args:
            vectors: (n, d_model) float32, each as it would occur in the model.

        Returns:
            One explanation per vector, in the order of the vectors.

        Raises:
            ShapeError: If the vectors have another width.
            BridgeError: If a vector is zero or not finite.
        """

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Explain directions by their blends with backgrounds.

        A verbalizer that decodes token by token uses the mean log-probabilities over the blends, minus beta times the
        same mean over the backgrounds alone. Any other verbalizer reads the mean of a direction's blends.

        Args:
            blends: The directions, each with its backgrounds.

        Returns:
            One explanation per direction, in the order of the directions.

        Raises:
            UsageError: If beta is not 0 and this verbalizer does not decode token by token.
            ShapeError: If the vectors have another width.
        """
        if blends.beta:
            raise UsageError(
                "This verbalizer does not decode token by token: nothing can be taken away from what it says.",
                remedy="Use the washout none, mean or blend with it.",
            )
        return self.explain(blends.vectors.mean(1))

    def ask(self, groups: Sequence[NDArray[np.float32]], question: str) -> list[Explanation]:
        """Answer a question about groups of vectors: one answer per group, from all vectors of the group.

        Args:
            groups: (n_i, d_model) float32 each, in the order of their tokens.
            question: The question; any text.

        Returns:
            One answer per group, in the order of the groups.

        Raises:
            UsageError: If this verbalizer takes no questions, or only one vector at a time.
            ShapeError: If the vectors have another width.
            BridgeError: If a vector is zero or not finite.
        """
        raise UsageError(
            "This verbalizer takes no questions.",
            remedy="Leave the question out, or use a reader that is asked, such as an activation oracle.",
        )

    def reconstruct(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the activations that texts describe, (n, d_model) float32; only their directions are meaningful.

        Args:
            texts: Explanations, or any texts.

        Raises:
            BridgeError: If this verbalizer has no activation reconstructor.
        """
        raise BridgeError("This verbalizer has no activation reconstructor.")

    def notes(self) -> list[str]:
        """Return what a user must know about how this verbalizer reads vectors.

        The core calls this after the last explanation, shows the sentences to the user and stores them with the result.
        They describe the verbalizer and not single vectors: a result from cached explanations has the same notes.

        Returns:
            Sentences, such as a choice that the verbalizer's files leave open and that was made at the first use; none
            by default.
        """
        return []


class VerbalizerBackend(ABC):
    """A kind of verbalizer; a frozen dataclass whose fields are its options, as in `nla:checkpoint=FOLDER`."""

    name: ClassVar[str]
    """Unique among installed verbalizers."""

    summary: ClassVar[str]
    """One line that says how the verbalizer explains."""

    needs_checkpoint: ClassVar[bool] = False
    """Whether the verbalizer needs a checkpoint that was trained for the model."""

    fits_lens: ClassVar[bool] = False
    """Whether it reads and fits lenses, files of matrices by layer (`fit_lens`, `merge_lenses`, `with_lens`)."""

    @classmethod
    def of_folder(cls, folder: Path) -> str:
        """Return the options that read a folder as this kind's checkpoint, as in `checkpoint=FOLDER`, or an empty text.

        A model's own verbalizer is found in this way, by its files alone. Default: this kind reads no folder.

        Args:
            folder: A possible checkpoint.
        """
        return ""

    @abstractmethod
    def open(self, subject: Subject) -> Verbalizer:
        """Make the verbalizer of one model at one site ready to explain.

        Args:
            subject: The model and site whose vectors it explains.

        Returns:
            The verbalizer, in memory.

        Raises:
            BridgeError: If a required checkpoint, server or text is missing or does not fit the subject.
        """

    def preview(self, d_model: int) -> list[str]:
        """Describe what `open` would load, one sentence each, from small files: fetches and reads no weights.

        Args:
            d_model: Width of the vectors to explain.

        Returns:
            Sentences for people; empty if nothing is loaded.

        Raises:
            BridgeError: If a required file is missing or does not fit.
        """
        return []

    def trained_at(self) -> str:
        """Return the site whose vectors this verbalizer reads, as its files name it: `20`, `20.attn_out`, `layers.20`.

        The core refuses vectors of another site before any model runs. Default: the verbalizer reads any site.

        Returns:
            The site, or several separated by commas; empty if the files name none, or any site is valid.

        Raises:
            BridgeError: If its files cannot be read.
        """
        return ""

    def check_model(self, site: Site, n_layers: int, d_model: int, weights: str) -> None:
        """Refuse a model that the files do not fit, from small files or headers, before any model runs.

        Default: any model is accepted.

        Args:
            site: Site of the vectors.
            n_layers: Number of blocks of the model.
            d_model: Width of the vectors.
            weights: Identity of the model's weights.

        Raises:
            BridgeError: If the files belong to another model, layer or width.
        """
        return

    def with_lens(self, file: Path) -> Self:
        """Return this kind with a lens to read, if its options name none.

        The core calls this only for kinds with `fits_lens`, and only if a lens was fitted on this machine.

        Args:
            file: A file that `fit_lens` wrote.
        """
        return self

    def fit_lens(self, subject: LensSubject, recipe: LensRecipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Fit a lens of a model at several layers and write it to a file; continue an interrupted fit.

        Args:
            subject: The model and the texts.
            recipe: Layers, and how the texts are used.
            out: The file to write.
            progress: Receives every stage.

        Returns:
            Description and provenance of the lens, as JSON.

        Raises:
            UsageError: If this kind fits no lens, or the file holds another fit that was interrupted.
        """
        raise self._no_lens()

    def merge_lenses(self, parts: Sequence[Path], out: Path) -> dict[str, Any]:
        """Merge lenses of one model that were fitted on disjoint texts; the result equals one fit on all texts.

        Args:
            parts: Files that `fit_lens` wrote.
            out: The file to write.

        Returns:
            Description and provenance of the lens, as JSON.

        Raises:
            UsageError: If this kind fits no lens.
            BridgeError: If the parts have different models, layers or recipes, or share a text.
        """
        raise self._no_lens()

    def _no_lens(self) -> UsageError:
        return UsageError(f"The verbalizer {self.name} fits no lens.", remedy=f"Use it as it is: {self.summary}")

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train a verbalizer of the subject and write it to a folder that `open` reads; resume an interrupted run.

        The state of an interrupted run is in hidden files (`.NAME.safetensors`), which the core deletes at the end.

        Args:
            subject: The model and site whose activations the verbalizer learns to read.
            recipe: How to train.
            out: The folder to write.
            progress: Receives every stage.

        Returns:
            Measurements on held-out documents and their baselines, as JSON.

        Raises:
            UsageError: If this kind is not trained.
        """
        raise UsageError(f"The verbalizer {self.name} needs no training.", remedy=f"Use it as it is: {self.summary}")


def check_site(trained_at: str, site: Site, n_layers: int, what: str) -> None:
    """Refuse a verbalizer that was trained on another site: it would read these vectors without an error.

    Args:
        trained_at: Site that its files name, in any notation, or several separated by commas; if empty, nothing
            is refused.
        site: Site of the vectors.
        n_layers: Number of blocks of the model.
        what: Name of the verbalizer in the message.

    Raises:
        BridgeError: If the sites differ; the message names both.
    """
    if not trained_at or any(_reads(one, site, n_layers) for one in trained_at.split(",")):
        return
    raise BridgeError(
        f"{what} was trained on vectors of the site {trained_at}, and these are of {site}.",
        cause="It is the verbalizer of another layer, or of another model of this width.",
        remedy=f"Refer to @{trained_at}, or give the verbalizer of @{site}; to read another site all the same, say "
        "any_site=true where its kind has that option.",
    )


def _reads(trained_at: str, site: Site, n_layers: int) -> bool:
    """Tell whether a verbalizer trained at one site reads another: the two sites hold the same vector."""
    try:
        trained = parse_site(trained_at, n_layers)
    except UsageError:
        return False
    # The output of a block is the input of the next block.
    before = {Site(trained.layer + 1, "resid_pre")} if trained.point == "resid_post" else set()
    before |= {Site(trained.layer - 1)} if trained.point == "resid_pre" and trained.layer else set()
    return site == trained or site in before


def check_vectors(vectors: NDArray[np.float32], d_model: int) -> None:
    """Refuse vectors that no verbalizer can explain.

    Args:
        vectors: The vectors to explain.
        d_model: Width that the verbalizer reads.

    Raises:
        ShapeError: If they are not (n, d_model).
        BridgeError: If a row is zero or has NaN or infinite values; the message names the first such row.
    """
    if vectors.ndim != 2 or vectors.shape[1] != d_model:
        raise ShapeError(f"The vectors have shape {vectors.shape}; this verbalizer reads (n, {d_model}).")
    bad = np.flatnonzero(~vectors.any(axis=1) | ~np.isfinite(vectors).all(axis=1))
    if len(bad):
        first = int(bad[0])
        found = "holds NaN or infinite values" if vectors[first].any() else "is zero, and has no direction"
        raise BridgeError(
            f"Row {first} of {len(vectors)} vectors {found}.",
            cause="It is of a feature that never fires, or a map or an earlier step overflowed.",
            remedy="Leave it out.",
        )
