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
    """What a verbalizer says of one vector.

    Attributes:
        text: The explanation; untrusted, since a model wrote it.
        flags: What is wrong with it (`truncated`, `untagged`, `empty`, `foreign_script`); scores say how many.
    """

    text: str
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Blends:
    """Directions mixed into backgrounds: one explanation is read from all blends of a direction together.

    Attributes:
        vectors: Every direction in every background, (n, backgrounds, d_model) float32.
        backgrounds: The backgrounds alone, (backgrounds, d_model) float32.
        beta: How much of what the backgrounds alone would say is taken away; 0 takes nothing.
    """

    vectors: NDArray[np.float32]
    backgrounds: NDArray[np.float32]
    beta: float = 0.0


class Verbalizer(ABC):
    """Explains vectors of one model at one site; made by a `VerbalizerBackend`.

    Laws, checked by `bridge.testing.check_verbalizer`:
        - One explanation a vector, in order; the same vectors give the same explanations.
        - Vectors of another width are refused with a `ShapeError`.
        - A zero, NaN or infinite vector has no direction, and is refused with a `BridgeError`.
        - `explain_blends` of a single background with beta 0 is `explain` of the blends.
    """

    d_model: int
    """Width of the vectors it reads."""

    reconstructs: bool = False
    """Whether it has an activation reconstructor."""

    at_once: int = 0
    """How many sequences it reads at once, at best: a vector is one, a direction one a blend, and one a background that
    is taken away. Who has more asks for that many at a time and keeps what came; 0 for any number."""

    identity: str = ""
    """All that its explanations and reconstructions depend on besides what is given: weights, options, seed. What one
    with an identity says is kept in the cache, and an interrupted run does not ask again; empty where that is cheap."""

    @abstractmethod
    def explain(self, vectors: NDArray[np.float32]) -> list[Explanation]:
        """Explain vectors of shape (n, d_model), float32.

        Args:
            vectors: (n, d_model) float32, each as it would stand in the model.

        Returns:
            What it says of each vector, in their order.

        Raises:
            ShapeError: If the vectors have another width.
            BridgeError: If a vector is zero or not finite.
        """

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Explain directions by their blends with backgrounds.

        One that decodes token by token decodes from the mean over blends of log-probabilities, minus beta times the
        same mean over the backgrounds alone. One that does not reads the mean of a direction's blends.

        Args:
            blends: The directions, each with its backgrounds.

        Returns:
            What it says of each direction, in their order.

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
        """Answer a question of vectors, several at once: of each group, an answer that all of its vectors led to.

        Args:
            groups: (n_i, d_model) float32 each, in the order of their tokens.
            question: What is asked; any text.

        Returns:
            An answer for each group, in their order.

        Raises:
            UsageError: If this verbalizer takes no questions, or one vector at a time only.
            ShapeError: If the vectors have another width.
            BridgeError: If a vector is zero or not finite.
        """
        raise UsageError(
            "This verbalizer takes no questions.",
            remedy="Leave the question out, or use a reader that is asked, such as an activation oracle.",
        )

    def reconstruct(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the activations that texts stand for, (n, d_model) float32; only their directions have a meaning.

        Args:
            texts: Explanations, or any texts.

        Raises:
            BridgeError: If this verbalizer has no activation reconstructor.
        """
        raise BridgeError("This verbalizer has no activation reconstructor.")


class VerbalizerBackend(ABC):
    """A kind of verbalizer; a frozen dataclass whose fields are its options, as in `nla:checkpoint=FOLDER`."""

    name: ClassVar[str]
    """Unique among installed verbalizers."""

    summary: ClassVar[str]
    """One line: how it explains."""

    needs_checkpoint: ClassVar[bool] = False
    """Whether it explains nothing without a checkpoint that was trained for the model."""

    fits_lens: ClassVar[bool] = False
    """Whether it reads lenses, files of matrices by layer, and fits them (`fit_lens`, `merge_lenses`, `with_lens`)."""

    @classmethod
    def of_folder(cls, folder: Path) -> str:
        """Return the options that read a folder as this kind's checkpoint, as in `checkpoint=FOLDER`, or an empty text.

        So a model's own verbalizer is found by its files alone. The default: this kind reads no folder.

        Args:
            folder: That may be a checkpoint.
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
            BridgeError: If what it needs (a checkpoint, a server, texts) is not there or does not fit the subject.
        """

    def preview(self, d_model: int) -> list[str]:
        """Say what `open` would load, a sentence each, from small files alone: no weights are fetched or read.

        Args:
            d_model: Width of the vectors that are to be explained.

        Returns:
            Sentences for people; empty where nothing is loaded.

        Raises:
            BridgeError: If what it needs is not there, or does not fit.
        """
        return []

    def trained_at(self) -> str:
        """Return the site whose vectors this reads, as its files name it: `20`, `20.attn_out`, `layers.20`.

        The core refuses vectors of another site, before anything is run. The default: it reads any.

        Returns:
            The site, or several separated by commas; empty where nothing says so, or any will do.

        Raises:
            BridgeError: If its files cannot be read.
        """
        return ""

    def check_model(self, site: Site, n_layers: int, d_model: int, weights: str) -> None:
        """Refuse a model whose vectors its files are not for, from small files or headers, before anything is run.

        The default: any model will do.

        Args:
            site: Where the vectors come from.
            n_layers: Number of blocks of their model.
            d_model: Their width.
            weights: What identifies the model's weights.

        Raises:
            BridgeError: If its files are of another model, layer or width.
        """
        return

    def with_lens(self, file: Path) -> Self:
        """Return this kind with a lens to read, where its options name none.

        The core asks only kinds with `fits_lens`, and only where a lens was fitted on this machine.

        Args:
            file: That `fit_lens` wrote.
        """
        return self

    def fit_lens(self, subject: LensSubject, recipe: LensRecipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Fit a lens of a model at several layers and write it to a file; continue what was interrupted.

        Args:
            subject: The model, and the texts.
            recipe: Layers, and how the texts are used.
            out: The file to write.
            progress: Is told of every stage.

        Returns:
            What the lens is and was made of, as JSON.

        Raises:
            UsageError: If this kind fits no lens, or the file holds another fit that was interrupted.
        """
        raise self._no_lens()

    def merge_lenses(self, parts: Sequence[Path], out: Path) -> dict[str, Any]:
        """Put lenses of one model that were fitted on disjoint texts together, as if they had been fitted at once.

        Args:
            parts: Files that `fit_lens` wrote.
            out: The file to write.

        Returns:
            What the lens is and was made of, as JSON.

        Raises:
            UsageError: If this kind fits no lens.
            BridgeError: If the parts are of different models, layers or recipes, or share a text.
        """
        raise self._no_lens()

    def _no_lens(self) -> UsageError:
        return UsageError(f"The verbalizer {self.name} fits no lens.", remedy=f"Use it as it is: {self.summary}")

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train a verbalizer of the subject and write it to a folder that `open` reads; resume what was interrupted.

        Args:
            subject: The model and site whose activations it learns to read.
            recipe: How to train.
            out: The folder to write.
            progress: Is told of every stage.

        Returns:
            What it measured on held-out documents, beside its baselines, as JSON.

        Raises:
            UsageError: If this kind is not trained.
        """
        raise UsageError(f"The verbalizer {self.name} needs no training.", remedy=f"Use it as it is: {self.summary}")


def check_site(trained_at: str, site: Site, n_layers: int, what: str) -> None:
    """Refuse a verbalizer that was trained on another site: it would read these vectors, too, and not say so.

    Args:
        trained_at: Site that its files name, in any notation, or several separated by commas; empty where they name
            none, which refuses nothing.
        site: Where the vectors come from.
        n_layers: Number of blocks of their model.
        what: What to call the verbalizer in the message.

    Raises:
        BridgeError: Naming both sites.
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
    """Tell whether what was trained at one site reads another: they are the same, or the same vector by two names."""
    try:
        trained = parse_site(trained_at, n_layers)
    except UsageError:
        return False
    # What a block leaves is what the next one is given.
    before = {Site(trained.layer + 1, "resid_pre")} if trained.point == "resid_post" else set()
    before |= {Site(trained.layer - 1)} if trained.point == "resid_pre" and trained.layer else set()
    return site == trained or site in before


def check_vectors(vectors: NDArray[np.float32], d_model: int) -> None:
    """Refuse vectors that no verbalizer can explain.

    Args:
        vectors: What was given to be explained.
        d_model: Width that the verbalizer reads.

    Raises:
        ShapeError: If they are not (n, d_model).
        BridgeError: If one is zero, or holds NaN or infinite values; it names the first such row.
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
