"""The contract of scorer plugins: what they need, what they are handed, what they return."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary
from bridge.maps import FittedMap
from bridge.measures import Measure, Question, Section
from bridge.metrics import Metric
from bridge.pairing.rows import Rows, concatenate
from bridge.reservoir import Reservoir
from bridge.verbalizers import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "MAPPED",
    "MISPAIRED",
    "NATIVE",
    "RANDOM_DIRECTION",
    "RANDOM_MAP",
    "RAW",
    "SELF",
    "ArmExplanations",
    "Edit",
    "Evidence",
    "Explained",
    "ExplainedActivations",
    "HeldOutPairs",
    "Judge",
    "LiveModel",
    "Look",
    "Measure",
    "Need",
    "Plot",
    "Question",
    "Rows",
    "Scorer",
    "Section",
]

MAPPED = "mapped"
"""The arm of the fitted map."""

NATIVE = "native"
"""The arm of a model's own, without a map: what a perfect one could reach."""

RAW = "raw"
"""The arm of the source's as it is, where widths are equal: what no map at all does."""

MISPAIRED = "mispaired"
"""The arm of the same map, fitted on rows of other documents: what it learns where there is nothing."""

RANDOM_MAP = "random_map"
"""The arm of a random rotation of equal scale."""

RANDOM_DIRECTION = "random_direction"
"""The arm of random directions of equal length."""

SELF = "self"
"""The arm of a model's tool on that model itself."""


class Need(StrEnum):
    """What a scorer may ask for. The runtime runs every scorer whose needs are met."""

    HELD_OUT_PAIRS = "held_out_pairs"
    MAP = "map"
    EQUAL_WIDTHS = "equal_widths"
    SRC_DICTIONARY = "src_dictionary"
    DST_DICTIONARY = "dst_dictionary"
    LIVE_MODEL = "live_model"
    EXPLANATIONS = "explanations"
    READINGS = "readings"


class HeldOutPairs(ABC):
    """Paired rows of documents that no map was fitted on: held-out ones, or in a sweep the validation fold's."""

    mean_src: NDArray[np.float64]
    """Mean of the source's *training* rows, (d_src,)."""

    mean_dst: NDArray[np.float64]
    """Mean of the destination's *training* rows, (d_dst,)."""

    n_documents: int
    """One more than the largest document index in the blocks."""

    @abstractmethod
    def blocks(self) -> Iterator[Rows]:
        """Stream over all rows, outliers included.

        Returns:
            Blocks of rows.
        """

    @final
    def typical(self) -> Iterator[Rows]:
        """Stream over all rows but outliers.

        Returns:
            Blocks of rows.
        """
        for rows in self.blocks():
            yield rows.take(~rows.outlier)

    @final
    def sample(self, count: int, seed: int) -> Rows:
        """Draw at most `count` rows, outliers left out, uniformly by seed; only they are held in memory.

        Args:
            count: Most rows.
            seed: Of the draw.

        Returns:
            The rows, in the order of the stream.
        """
        draw = Reservoir(count, seed)
        kept: Rows | None = None
        for rows in self.typical():
            admitted = rows.take(draw.admit(len(rows.x)))
            kept = admitted if kept is None else concatenate(kept, admitted)
            if draw.excess > 0:
                kept = kept.take(draw.trim())
        assert kept is not None, "the runtime never hands out an empty held-out set"
        return kept


Edit = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Rewrites activations, (n, d_dst) float32 -> the same shape."""


class LiveModel(ABC):
    """The destination model in memory, run on a sample of the held-out documents."""

    n_documents: int
    """One more than the largest document index; the same groups as in the held-out pairs."""

    @abstractmethod
    def losses(self, edit: Edit | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Run the documents, the destination site's activations rewritten, and add up the next-token losses.

        Args:
            edit: Rewrites the rows of every token that stands for text; None leaves them as they are.

        Returns:
            Cross-entropy in nats summed over each document's next tokens, and how many they are: both (n_documents,).
        """


Judge = Callable[[Sequence[str]], NDArray[np.float32]]
"""Embeds texts: n strings -> (n, k) float32 of unit norm; equal meanings point the same way."""


@final
@dataclass(frozen=True)
class Explained:
    """What verbalizers say of the same directions, under one washout.

    Attributes:
        names: What each direction is, n strings.
        native: What the source's own verbalizer says of each.
        foreign: By arm, what the destination's verbalizer says: of the directions moved by each map (`mapped`,
            `mispaired`, `random_map`), and of as many random directions moved by the fitted map (`random_direction`).
        topics: For each the topic that has more than half of its activity on the training documents, or empty; no
            strings at all where the corpus has no topics.
    """

    names: Sequence[str]
    native: Sequence[Explanation]
    foreign: Mapping[str, Sequence[Explanation]]
    topics: Sequence[str] = ()


@final
@dataclass(frozen=True)
class ArmExplanations:
    """What one verbalizer says of live activations, and what is reconstructed from them.

    Attributes:
        explanations: One explanation a position.
        truth: The activations that it is about, (n, d_model) float32: the source's, but for the arm `self`.
        rebuilt: What the explanations stand for, by the verbalizer's reconstructor and, of a foreign one, the map
            back; of the shape of `truth`. None without a reconstructor.
        mean: Mean of the training activations of the model that `truth` is of, (d_model,) float64.
    """

    explanations: Sequence[Explanation]
    truth: NDArray[np.float32]
    rebuilt: NDArray[np.float32] | None
    mean: NDArray[np.float64]

    @property
    def said(self) -> Sequence[Explanation]:
        """The old name of `explanations`."""
        warnings.warn("ArmExplanations.said is now ArmExplanations.explanations.", DeprecationWarning, stacklevel=2)
        return self.explanations


@final
@dataclass(frozen=True)
class ExplainedActivations:
    """What verbalizers say of live activations at the same positions of held-out documents.

    Attributes:
        texts: The text up to and with the token of each position, n strings; each ends with a whole word.
        topics: What each position's document is about, n strings; empty where the corpus does not say.
        document: Index of each position's document group, (n,) int64.
        arms: `native`: the source's verbalizer on the source's activations. `self`: the destination's on the
            destination's. Those of the maps: the destination's on the source's activations, moved.
    """

    texts: Sequence[str]
    topics: Sequence[str]
    document: NDArray[np.int64]
    arms: Mapping[str, ArmExplanations]


@final
@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that scorers may look at.

    Attributes:
        src: Source reference.
        dst: Destination reference.
        map: Name of the map plugin.
        arms: The fitted map as `mapped`, and the controls: `mispaired` (the same map fitted on mispaired rows),
            `random_map`, and `raw` (no map) where the widths are equal.
        held_out: Paired rows of the held-out documents.
        seed: Of everything random.
        back: The map from the destination to the source, where a dictionary is available, for each arm that has one: a
            random map to fewer dimensions has no way back.
        src_dictionary: The source model's dictionary at its site.
        dst_dictionary: The destination model's own dictionary at its site, of as many or other features.
        twins: Other dictionaries of the destination at its site, by name; controls for matching decoders.
        live: The destination model, to be run with changed activations.
        explained: By washout what verbalizers say of the same directions; the first one is the run's own.
        readings: What verbalizers say of live activations.
        judge: Embeds texts, where there are explanations.
        keep: Called with a name and an array of finite floats that is to lie beside the metrics, as a matrix that they
            summarise or the curves of a plot. What begins with the scorer's own name and a dot is handed to its `plot`.
    """

    src: str
    dst: str
    map: str
    arms: Mapping[str, FittedMap]
    held_out: HeldOutPairs
    seed: int
    back: Mapping[str, FittedMap] = field(default_factory=dict)
    src_dictionary: Dictionary | None = None
    dst_dictionary: Dictionary | None = None
    twins: Mapping[str, Dictionary] = field(default_factory=dict)
    live: LiveModel | None = None
    explained: Mapping[str, Explained] = field(default_factory=dict)
    readings: ExplainedActivations | None = None
    judge: Judge | None = None
    keep: Callable[[str, NDArray[np.floating]], None] = lambda name, array: None

    @property
    def at_hand(self) -> frozenset[Need]:
        """The old name of `available`."""
        warnings.warn("Evidence.at_hand is now Evidence.available.", DeprecationWarning, stacklevel=2)
        return self.available

    @property
    def available(self) -> frozenset[Need]:
        """What this evidence can supply."""
        there = {
            Need.HELD_OUT_PAIRS: True,
            Need.MAP: True,
            Need.EQUAL_WIDTHS: len(self.held_out.mean_src) == len(self.held_out.mean_dst),
            Need.SRC_DICTIONARY: self.src_dictionary is not None,
            Need.DST_DICTIONARY: self.dst_dictionary is not None,
            Need.LIVE_MODEL: self.live is not None,
            Need.EXPLANATIONS: bool(self.explained) and self.judge is not None,
            Need.READINGS: self.readings is not None and self.judge is not None,
        }
        return frozenset(need for need, met in there.items() if met)

    def metric(
        self,
        scorer: Scorer,
        name: str,
        arm: str,
        value: float,
        interval: tuple[float, float],
        n: int,
        note: str = "",
        control: str = MISPAIRED,
    ) -> Metric:
        """Make the record of one number; only the arm `mapped` has a control, by default `mispaired`.

        Args:
            scorer: That measured it.
            name: What was measured.
            arm: What it was measured on.
            value: The number.
            interval: Ends of its 95% interval; NaN where none could be had.
            n: How many rows, features or texts it rests on.
            note: Whatever a reader needs to know to not misread it.
            control: The arm that `mapped` is read against; left out where that was not scored.

        Returns:
            The metric, with the evidence's map, source and destination.
        """
        low, high = interval
        explanations = self.explained.values() if Need.EXPLANATIONS in scorer.needs else ()
        read = self.readings.arms if self.readings and Need.READINGS in scorer.needs else ()
        scored = {*self.arms, *read, *(arm for explained in explanations for arm in (NATIVE, *explained.foreign))}
        read_against = control if arm == MAPPED and control in scored else ""
        return Metric(scorer.name, name, arm, self.map, self.src, self.dst, value, low, high, n, read_against, note)


Look = Callable[[str], Mapping[str, Any]]
"""By arm, how the report draws it: matplotlib's properties of a line (colour, marker, hollow or filled, dashes)."""


@final
@dataclass(frozen=True)
class Plot:
    """A scorer's own plot in the report.

    Attributes:
        figure: The picture; made while `Scorer.plot` runs, it has the page's size, font and colours.
        title: Its caption.
        says: What it shows, in words, for those who do not see it.
        meaning: How it is read: a line below the caption.
    """

    figure: Figure
    title: str
    says: str
    meaning: str = ""


class Scorer(ABC):
    """Measures a fitted map.

    Laws, checked by `bridge.testing.check_scorer`:
        - Every metric has a finite value inside its interval, and the number of rows it rests on.
        - Every arm in the evidence is scored, so that no number stands without its control.
        - The same evidence gives the same metrics.
        - Every number that it gives is among its `measures`, if it has any.
        - A plot is drawn from what was kept alone, says in words what it shows, and is the same every time.
    """

    name: ClassVar[str]
    """Unique among installed scorers."""

    summary: ClassVar[str]
    """One line: what is measured."""

    measures: ClassVar[tuple[Measure, ...]] = ()
    """What it says of each number that it gives; one that is not listed has its name alone."""

    needs: ClassVar[frozenset[Need]]
    """What must be available for this scorer to run."""

    @abstractmethod
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Return the metrics of every arm.

        Args:
            evidence: The fitted arms, and what was measured of them.
        """

    def sentences(self, metrics: Sequence[Metric]) -> Sequence[str]:
        """Say in plain words what this scorer's metrics of one run show, beside their controls.

        Args:
            metrics: Its own metrics, under the run's own washout.

        Returns:
            Sentences for terminal and report; none where there is nothing to say.
        """
        return ()

    def plot(self, kept: Mapping[str, NDArray[np.floating]], look: Look) -> Plot | None:
        """Draw what this scorer kept for its plot; called when a page is made, not when the run is scored.

        The page has a light and a dark face: leave the colours of text and axes as they are, and take those of arms
        from `look`.

        Args:
            kept: What `score` kept under names that begin with the scorer's own and a dot, float32; the names come
                without that beginning. It is read from a file, which may be untrusted.
            look: How the page draws an arm, as in `axes.plot(x, y, **look("mapped"))`.

        Returns:
            The plot, or None for none. Whatever is raised leaves it out, and is told in the page.
        """
        return None


RENAMED = {"Reading": "ArmExplanations", "Readings": "ExplainedActivations"}


def __getattr__(name: str) -> Any:
    if name not in RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"bridge.scorers.{name} is now {RENAMED[name]}.", DeprecationWarning, stacklevel=2)
    return globals()[RENAMED[name]]
