"""The page on which a payment without money is made, for demonstrations (`TEST_PAYMENTS=on`)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from litestar import Controller, Request, Response, get
from litestar.params import FromPath

from api.access.declarations import ANYONE, access
from api.pages.faults import ON_FAULTS
from api.pages.rendering import rendered
from domain.store.payment_providers.demonstration import PAGE

if TYPE_CHECKING:
    from api.pages.static import Static


class PayingController(Controller):
    """The page of the test provider."""

    include_in_schema = False
    exception_handlers = ON_FAULTS

    @get(f"{PAGE}/{{intent_id:uuid}}", **access(ANYONE))
    async def paying(self, request: Request[Any, Any, Any], intent_id: FromPath[UUID]) -> Response[bytes]:
        """A page with two buttons; its script tells the API which one was pressed, and leads back to the booking."""
        del intent_id
        return _payment_page().response(request.scope)


@cache
def _payment_page() -> Static:
    return rendered("payment", width="narrow")
