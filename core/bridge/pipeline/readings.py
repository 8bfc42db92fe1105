"""Activations or directions of one model, as another model's verbalizer explains them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

from markupsafe import Markup

from bridge.display import notebook
from bridge.display.words import number
from bridge.pipeline.result import Result


@final
@dataclass(frozen=True)
class Reading:
    """One explained vector.

    Attributes:
        text: The text of the activation, or the name of the direction.
        token: The token of the activation; empty for a direction.
        position: The end of the token in the text, in characters; -1 for a direction.
        explanation: The text of the destination's verbalizer.
        flags: Flags of the explanation.
        round_trip: Cosine between the activation and its reconstruction from the explanation, by the destination's
            reconstructor and the reverse map. None without a reconstructor, and for directions.
    """

    text: str
    token: str
    position: int
    explanation: str
    flags: tuple[str, ...] = ()
    round_trip: float | None = None


@final
@dataclass(frozen=True)
class Readings(Result):
    """Explained vectors, and the fraction of their variance that the explanations reconstruct.

    Attributes:
        readings: One reading per vector.
        fve: Fraction of the variance of the activations' directions that the round trip explains, relative to the mean
            activation; None without a reconstructor.
        fve_nrm: The same over the variance of unit vectors of training activations, as model cards print it; None
            without a reconstructor.
        mean_cosine: Mean cosine of the activations with the mean activation; None without a reconstructor.
        provenance: Models, map, verbalizer and versions.
    """

    readings: list[Reading]
    fve: float | None
    mean_cosine: float | None
    provenance: dict[str, Any]
    fve_nrm: float | None = None

    def __repr__(self) -> str:
        about, back = self.provenance, "" if self.fve is None else f", fve {self.fve:.3f}"
        return f"Readings({about['src']} explained by {about['dst']}: {len(self.readings)} explanations{back})"

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each explained vector.

        Returns:
            Rows of the fields of `Reading`.
        """
        return [asdict(one) for one in self.readings]

    def document(self) -> dict[str, Any]:
        """Return the result as `bridge explain --out` writes it.

        Returns:
            `schema`, `bridge` (the provenance), `fve`, `fve_nrm`, `mean_cosine` and `readings`, ready for `json.dump`.
        """
        scores = {"fve": self.fve, "fve_nrm": self.fve_nrm, "mean_cosine": self.mean_cosine}
        return {"schema": 1, "bridge": self.provenance, **scores, "readings": [asdict(one) for one in self.readings]}

    def _shown(self) -> list[Markup]:
        rows = [
            [
                one.token if one.position >= 0 else one.text,
                one.explanation,
                ", ".join(one.flags),
                number(one.round_trip),
            ]
            for one in self.readings
        ]
        return [notebook.table("", ["read", "explanation", "flags", "round trip"], rows)]
