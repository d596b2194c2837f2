"""The tables of roles and limits in docs/api.md agree with the route table and the settings."""

from __future__ import annotations

from litestar import Litestar

from api.access.declarations import declared_access
from api.routes import PREFIX, api_routes
from domain.accounts.accounts import Role
from domain.platform.settings import Settings
from tests.contract.pages import API, codes, table

NOBODY = "\N{EN DASH}"


def _declared():
    app = Litestar(api_routes(), logging_config=None, openapi_config=None)
    return {
        f"{method} {route.path_format.removeprefix(PREFIX)}": declared_access(handler)
        for route in app.routes
        if route.path_format.startswith(PREFIX)
        for handler in route.route_handlers
        for method in handler.http_methods
        if declared_access(handler)
    }


def test_the_table_of_roles_is_the_route_table():
    told = {}
    for _, routes, *cells in table(API, "Who may do what"):
        who = [name for name, cell in zip(("anyone", *Role), cells, strict=True) if cell != NOBODY]
        told |= dict.fromkeys(codes(routes), frozenset(who))

    everybody = frozenset({"anyone", *Role})
    assert told == {route: access.roles or everybody for route, access in _declared().items()}


def test_the_table_of_limits_has_every_limit_and_its_default():
    told = {codes(setting)[0]: limit for _, limit, _, setting in table(API, "Limits")}

    defaults = {
        name.upper(): str(field.default) for name, field in Settings.model_fields.items() if name.startswith("limit_")
    }
    assert told == defaults


def test_the_table_of_limits_names_the_routes_that_have_them():
    told = {route: codes(setting)[0] for routes, _, _, setting in table(API, "Limits") for route in codes(routes)}
    expected = {
        route: f"LIMIT_{_limit(access).upper()}"
        for route, access in _declared().items()
        if not _limit(access).startswith(("admin_", "default", "unlimited"))
    }

    assert told == expected


def _limit(access):
    """The limit that tells a route apart; a login is counted by its e-mail besides its address."""
    if access.roles:
        return access.limit
    return {"login_address": "login"}.get(access.limit_address, access.limit_address or access.limit)
