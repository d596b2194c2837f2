"""The page on which a payment without money is made, for demonstrations (`TEST_PAYMENTS=on`)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, get
from litestar.params import FromPath

from api.access.declarations import ANYONE, access
from api.pages.html import page
from domain.store.payment_providers.demonstration import PAGE


class PayingController(Controller):
    """The page of the test provider."""

    include_in_schema = False

    @get(f"{PAGE}/{{intent_id:uuid}}", **access(ANYONE))
    async def paying(self, request: Request[Any, Any, Any], intent_id: FromPath[UUID]) -> Response[bytes]:
        """A page with two buttons; its script tells the API which one was pressed."""
        del intent_id
        return page("paying").response(request.scope)
