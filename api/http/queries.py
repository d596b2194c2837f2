"""Query parameters: a name that a route does not have is refused, so that a typing error is not an unfiltered list."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from litestar.params import QueryParameter

from api.http.bodies import pointer_to
from domain.kernel.refusals import Invalid

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler
    from litestar.types import Scope


async def query_is_known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route of the API; raises Invalid for a parameter that the route does not have."""
    refusal = unknown_parameters(connection.scope, parameters_of(handler))
    if refusal:
        raise refusal


def unknown_parameters(scope: Scope, known: frozenset[str]) -> Invalid | None:
    """The refusal of a query that names what is not `known`, None for any other."""
    query = scope["query_string"]
    if not query:
        return None
    named = {name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    errors = [
        {"pointer": pointer_to(name), "message": "unknown_parameter: there is no such parameter"}
        for name in sorted(named - known)
    ]
    detail = "The query has a parameter that this route does not have."
    return Invalid(detail, errors=errors) if errors else None


@cache
def parameters_of(handler: BaseRouteHandler) -> frozenset[str]:
    """The query parameters that a route's handler takes."""
    return frozenset(
        name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    )
