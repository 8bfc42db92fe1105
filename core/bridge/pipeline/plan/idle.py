"""Refuse options without effect before work starts, because the user expects an effect."""

from __future__ import annotations

from collections.abc import Collection

from bridge.errors import UsageError
from bridge.pipeline.plan.options import Options, declared

OF_FEATURES = ("features", "features_of", "washout", "allow_other_model")
OF_EXPLANATIONS = (*OF_FEATURES, "src_verbalizer", "dst_verbalizer", "encoder")


def refuse_idle(options: Options, given: Collection[str] = ()) -> None:
    """Refuse options that matter only for explanations, if nothing is explained.

    Args:
        options: Options of a run.
        given: Names of options that were set for this call, as by flags. The file of a run's folder sets all options,
            so other options count only if they differ from their defaults.

    Raises:
        UsageError: Naming every such option.
    """
    if options.dictionary.reference or options.verbalize.positions:
        return
    if found := _set(options, OF_EXPLANATIONS, given):
        raise UsageError(
            f"{found} without effect: nothing is explained in this run.",
            remedy="Give something to explain (--dictionary SAE, --positions N), or remove the option.",
        )


def idle_beside_positions(options: Options, given: Collection[str] = ()) -> str:
    """Return a sentence about options without effect if only live activations are explained; may be empty.

    Args:
        options: Options of a run.
        given: As for `refuse_idle`.
    """
    if options.dictionary.reference or not options.verbalize.positions:
        return ""
    found = _set(options, OF_FEATURES, given)
    return f"{found} without effect: no features are explained, and activations need no washout." if found else ""


def _set(options: Options, names: Collection[str], given: Collection[str]) -> str:
    where, flat = declared(), options.flat()
    found = [name for name in names if name in given or flat[name] != where[name][2].get_default()]
    written = ", ".join(f"--{name.replace('_', '-')} {_text(flat[name])}".rstrip() for name in found)
    return f"{written} {'is' if len(found) == 1 else 'are'}" if found else ""


def _text(value: object) -> str:
    if isinstance(value, bool):
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
