"""Short constructors for measures of explanations and of live activations."""

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
    """Declare a number about explanations of features; arguments as for `Measure`.

    A headline is also compared between washouts.
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
    """Declare a number about live activations, where higher is better; arguments as for `Measure`."""
    return Measure(name=name, meaning=meaning, unit=unit, better="higher", section=Section.ACTIVATIONS, order=order)
