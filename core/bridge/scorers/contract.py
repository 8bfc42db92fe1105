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
    """An input that a scorer may need. The runtime runs every scorer whose needs are available."""

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
    """All inputs of scorers.

    Attributes:
        src: Source reference.
        dst: Destination reference.
        map: Name of the map plugin.
        arms: The fitted map as `mapped`, and the controls: `mispaired` (the same map type fitted on mispaired rows),
            `random_map`, and `raw` (no map) if the widths are equal.
        held_out: Paired rows of the held-out documents.
        seed: Random seed.
        back: The reverse map of each arm that has one, if a dictionary is available: a random map to fewer dimensions
            has no reverse map.
        src_dictionary: The source model's dictionary at its site.
        dst_dictionary: The destination model's own dictionary at its site, with any number of features.
        twins: Other dictionaries of the destination at its site, by name; controls for matching decoders.
        live: The destination model, for runs with edited activations.
        explained: Explanations of the same directions, by washout; the first is the run's default washout.
        readings: Explanations of live activations.
        judge: Embeds texts, if there are explanations.
        keep: Function of a name and an array of finite floats to store with the metrics, such as a matrix that they
            summarise or the curves of a plot. Arrays whose names begin with the scorer's name and a dot are passed to
            its `plot`.
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
        """The needs that this evidence meets."""
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
            scorer: The scorer of the number.
            name: Name of the measure.
            arm: The measured arm.
            value: The number.
            interval: Ends of its 95% interval; NaN if unknown.
            n: Number of rows, features or texts behind the value.
            note: Information that prevents misinterpretation.
            control: The arm to compare `mapped` with; ignored if that arm was not scored.

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
        - Every metric has a finite value inside its interval, and the number of rows behind it.
        - Every arm in the evidence is scored, so that every number has its control.
        - The same evidence gives the same metrics.
        - Every number is among the scorer's `measures`, if it has any.
        - A plot depends only on the kept arrays, has a text description, and is the same every time.
    """

    name: ClassVar[str]
    """Unique among installed scorers."""

    summary: ClassVar[str]
    """One line: the measured quantity."""

    measures: ClassVar[tuple[Measure, ...]] = ()
    """Declarations of the scorer's numbers; a number without a declaration is shown by its name only."""

    needs: ClassVar[frozenset[Need]]
    """The inputs that this scorer needs."""

    @abstractmethod
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Return the metrics of every arm.

        Args:
            evidence: The fitted arms and their data.
        """

    def sentences(self, metrics: Sequence[Metric]) -> Sequence[str]:
        """Describe in plain words what this scorer's metrics of one run show, compared with their controls.

        Args:
            metrics: The scorer's own metrics, with the run's first washout.

        Returns:
            Sentences for terminal and report; may be empty.
        """
        return ()

    def plot(self, kept: Mapping[str, NDArray[np.floating]], look: Look) -> Plot | None:
        """Draw the plot from the kept arrays; called when a page is made, not when the run is scored.

        The page has a light and a dark theme: do not set the colours of text and axes, and take the colours of arms
        from `look`.

        Args:
            kept: The arrays that `score` kept under names beginning with the scorer's name and a dot, float32, by names
                without this prefix. They are read from a file, which may be untrusted.
            look: Returns the style of an arm, as in `axes.plot(x, y, **look("mapped"))`.

        Returns:
            The plot, or None. If the method raises an error, the page shows the error instead of the plot.
        """
        return None
