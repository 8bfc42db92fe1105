"""Measures of explanations and of live activations, a line each where a scorer declares them."""

from __future__ import annotations

from bridge.scorers import Measure, Section


def of_features(
    name: str,
    meaning: str,
    unit: str,
    order: int,
    *,
    better: str = "higher",
    headline: bool = False,
    compared: bool = False,
) -> Measure:
    """Declare a number about explanations of features; arguments as of `Measure`.

    A headline is compared between washouts, too.
    """
    return Measure(
        name=name,
        meaning=meaning,
        unit=unit,
        better=better,
        section=Section.EXPLANATIONS,
        order=order,
        headline=headline,
        compared=compared or headline,
    )


def of_readings(name: str, meaning: str, unit: str, order: int) -> Measure:
    """Declare a number about live activations, of which more is better; arguments as of `Measure`."""
    return Measure(name=name, meaning=meaning, unit=unit, better="higher", section=Section.ACTIVATIONS, order=order)
