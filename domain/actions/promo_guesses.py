"""The limit of wrong promo codes, so that codes cannot be found by trying.

Only wrong codes are counted, in Redis. An order with a right code costs no further round trip. A process that was told
that a caller is over the limit refuses all codes of this caller until the limit allows another one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from domain.kernel.refusals import PromoCodeInvalid, RateLimited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.store.redis.admission import Admission, Rule

Answer = TypeVar("Answer")

LIMITED_MAX = 10_000
"""Callers over the limit that a process remembers. A forgotten one is remembered again at its next wrong code."""


class Guesser(Struct, frozen=True):
    """By what wrong codes are counted: the client address, together with the account if there is one."""

    address: str
    account: str = ""


class PromoGuesses:
    """Counts wrong promo codes. Fails closed: what cannot be counted is refused."""

    def __init__(self, admission: Admission, rule: Rule | None) -> None:
        self._admission = admission
        self._rule = rule
        self._limited: OrderedDict[Guesser, tuple[float, RateLimited]] = OrderedDict()

    async def tried(self, guesser: Guesser, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """An answer to a request with a promo code.

        Raises:
            RateLimited: there were too many wrong codes, and this code was not looked at, or is wrong, too.
            PromoCodeInvalid: the code is wrong, and was counted.
        """
        if (refusal := self.refusal_of(guesser)) is not None:
            raise refusal
        try:
            return await answer()
        except PromoCodeInvalid:
            await self._count(guesser)
            raise

    def refusal_of(self, guesser: Guesser) -> RateLimited | None:
        """The refusal of any code of a caller that is known to be over the limit; None for any other caller."""
        known = self._limited.get(guesser)
        if known is None:
            return None
        until_s, refusal = known
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            del self._limited[guesser]
            return None
        return RateLimited(refusal.detail, **refusal.facts | {"retry_after_seconds": int(left_s) + 1})

    async def _count(self, guesser: Guesser) -> None:
        if self._rule is None:
            return
        try:
            await self._admission.admit_address(guesser.address, self._rule, subject=guesser.account)
        except RateLimited as refusal:
            retry_s = float(str(refusal.facts["retry_after_seconds"]))
            self._limited[guesser] = time.monotonic() + retry_s, refusal
            if len(self._limited) > LIMITED_MAX:
                self._limited.popitem(last=False)
            raise
