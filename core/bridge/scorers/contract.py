"""What a scorer plugin implements, and the evidence that it is handed."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary
from bridge.maps import FittedMap
from bridge.measures import Measure
from bridge.metrics import Metric
from bridge.scorers.arms import MAPPED, MISPAIRED, NATIVE
from bridge.scorers.explained import Explained, ExplainedActivations, Judge
from bridge.scorers.held_out import HeldOutPairs, LiveModel
from bridge.scorers.plot import Look, Plot


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
