"""The logit lens: which next tokens a vector promotes and suppresses, through the model's own final norm and head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from bridge.hookspecs import hookimpl
from bridge.verbalizers import Subject, Verbalizer, VerbalizerBackend
from bridge_verbalizers.next_tokens import NextTokens, need_tokens


@final
@dataclass(frozen=True)
class LogitLens(VerbalizerBackend):
    """Tokens that a vector promotes and suppresses, as if it were the last block's output.

    Vectors of earlier sites are read unchanged: the effect of later blocks is ignored. A direction and a whole
    activation are read in the same way, without a background. The washout adds a background: `contrast` subtracts the
    background's logits.

    Attributes:
        top: Number of tokens on each side.

    Source: nostalgebraist, "interpreting GPT: the logit lens" (LessWrong, 2020).
    """

    top: int = 10

    name = "logit_lens"
    summary = "names the next tokens that a vector promotes and suppresses; nothing is trained"

    def open(self, subject: Subject) -> Verbalizer:
        """Load the model.

        Raises:
            UsageError: If `top` is below 1.
            ModelUnavailableError: If the weights are not available.
        """
        need_tokens(self.top)
        return NextTokens(subject.load(), self.top)


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer the logit lens."""
    register(LogitLens)
