"""Who tries promo codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.actions.promo_guesses import Guesser

if TYPE_CHECKING:
    from litestar.types import Scope

    from api.context import Process
    from domain.accounts.tokens import Token


def guesser_of(at: Process, scope: Scope, caller: Token | None) -> Guesser:
    """By what the wrong promo codes of a request are counted."""
    return Guesser(at.proxies.client_of(scope), caller.account_id.hex if caller else "")
