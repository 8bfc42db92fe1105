"""Options that could have no effect: refused before work starts, since who set them expects one."""

from __future__ import annotations

from collections.abc import Collection

from bridge.errors import UsageError
from bridge.pipeline.plan.options import Options, declared

OF_FEATURES = ("features", "features_of", "washout")
OF_EXPLANATIONS = (*OF_FEATURES, "src_verbalizer", "dst_verbalizer", "encoder")


def refuse_idle(options: Options, given: Collection[str] = ()) -> None:
    """Refuse what only matters where something is explained, if nothing is.

    Args:
        options: Of a run.
        given: Names of options that were set for this call, as flags are. A file that a run left sets all of them, so
            of the others those count that differ from their defaults.

    Raises:
        UsageError: Naming every such option.
    """
    features, positions = bool(options.dictionary.reference), bool(options.verbalize.positions)
    idle: tuple[str, ...] = () if features else OF_FEATURES if positions else OF_EXPLANATIONS
    if not features:
        idle += ("allow_other_model",)
    where, flat = declared(), options.flat()
    found = [name for name in idle if name in given or flat[name] != where[name][2].get_default()]
    if not found:
        return
    written = ", ".join(f"--{name.replace('_', '-')} {_text(flat[name])}".rstrip() for name in found)
    one = len(found) == 1
    raise UsageError(
        f"{written} {'has' if one else 'have'} no effect here: "
        + ("no features are explained." if positions else "nothing is explained."),
        remedy=f"Say what is to be explained (--dictionary SAE{'' if positions else ', --positions N'}), or leave "
        f"{'it' if one else 'them'} out.",
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
