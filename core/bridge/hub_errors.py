"""Why the hub does not give something: gated, private, not there, a token that it refuses, or out of reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

LOGIN = "set HF_TOKEN or run `hf auth login`"


@final
@dataclass(frozen=True)
class HubRefusal:
    """A reason, in words.

    Attributes:
        what: What happened.
        cause: Why.
        remedy: What helps; empty where only having the files helps.
    """

    what: str
    cause: str = ""
    remedy: str = ""


def links_of(error: BaseException) -> list[BaseException]:
    """Return an error and all that it was raised from, the first cause last."""
    chain = [error]
    while (parent := chain[-1].__cause__ or chain[-1].__context__) and parent not in chain:
        chain.append(parent)
    return chain


def refusal_of(
    repository: str, revision: str, error: BaseException, kind: Literal["model", "dataset"] = "model"
) -> HubRefusal | None:
    """Find out why the hub did not give something.

    Args:
        repository: What was asked for, `user/name`.
        revision: Branch, tag or commit; empty for the default branch.
        error: What a library raised, with whatever it was raised from.
        kind: What it is on the hub.

    Returns:
        The reason; None where it is another one.
    """
    from huggingface_hub import constants, errors

    chain = links_of(error)
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"

    def is_any(*kinds: type[BaseException]) -> bool:
        """Tell whether the error, or one beneath it, is of some kinds."""
        return any(isinstance(link, kinds) for link in chain)

    statuses = {getattr(getattr(link, "response", None), "status_code", None) for link in chain} & {401, 403}
    if is_any(errors.GatedRepoError):
        return HubRefusal(
            f"The {kind} {repository} is gated: the hub gives it only to those who accepted its licence.",
            "Its terms were not accepted by this account, were not granted yet, or no account is logged in.",
            f"Accept them at {page}, then {LOGIN} with the account that did.",
        )
    if is_any(errors.DisabledRepoError):
        return HubRefusal(f"The hub has disabled the {kind} {repository}.", "", f"{page} may say why.")
    if is_any(errors.RevisionNotFoundError):
        return HubRefusal(f"{repository} has no revision {revision}.", "", f"See its branches and tags at {page}.")
    if is_any(errors.RepositoryNotFoundError):
        return HubRefusal(
            f"The hub has no {kind} {repository}, or does not show it to this account.",
            "The name is misspelt; or it is private, and no account that may read it is logged in.",
            f"Look whether {page} is there; for a private one, {LOGIN} with an account that may read it.",
        )
    if statuses:
        return HubRefusal(
            f"The hub refuses to give the {kind} {repository} ({statuses.pop()}).",
            "The token in HF_TOKEN, or the one that `hf auth login` has kept, is no longer valid, or may not read it.",
            f"Make a token that may read {page}, and {LOGIN} with it; unset HF_TOKEN where it is an old one.",
        )
    if is_any(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError):
        at = f" at revision {revision}" if revision else ""
        return HubRefusal(
            f"The files of {repository}{at} are not on this machine, and the hub cannot be reached.",
            "HF_HUB_OFFLINE is set, or there is no network.",
        )
    return None
