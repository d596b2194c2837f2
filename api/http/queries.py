"""Query parameters: unknown names and repeated names are refused.

If they were ignored, a typing error would return an unfiltered list, and one of two values would be dropped silently.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from litestar.params import QueryParameter

from api.http.bodies import pointer_to
from domain.kernel.refusals import Invalid

if TYPE_CHECKING:
    from litestar.handlers import BaseRouteHandler
    from litestar.types import Scope

CHECKS_QUERY = "checks_query"
"""The option of routes that refuse unknown query parameters."""

UNKNOWN = "unknown_parameter: there is no such parameter"
REPEATED = "is given more than once"


def refused_query(scope: Scope) -> Invalid | None:
    """The refusal of a query with a parameter that the request's route does not have; None for any other."""
    handler = scope["route_handler"]
    return refused_parameters(scope, parameters_of(handler)) if handler.opt.get(CHECKS_QUERY) else None


def refused_parameters(scope: Scope, known: frozenset[str]) -> Invalid | None:
    """The refusal of a query with a name that is not `known`, or with a name twice; None for any other."""
    query = scope["query_string"]
    if not query:
        return None
    named = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    errors = [
        {"pointer": pointer_to(name), "message": REPEATED if name in known else UNKNOWN}
        for name, times in sorted(named.items())
        if name not in known or times > 1
    ]
    detail = "A query parameter is unknown to this route or occurs twice; `errors` names it."
    return Invalid(detail, errors=errors) if errors else None


@cache
def parameters_of(handler: BaseRouteHandler) -> frozenset[str]:
    """The query parameters of a route's handler."""
    return frozenset(
        name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    )
