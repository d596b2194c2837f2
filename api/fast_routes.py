"""The way to the fast lane past the framework's router.

To find a route, with everything around it, costs the framework a tenth of a booking, and more of a poll, whose path
it has never seen before. The routes of lanes are found here. What is not spelled exactly as they are takes the
framework's way to the same door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute
from msgspec import Struct, ValidationError, convert

from api.access.authentication import ADMITTED, Visit
from api.access.declarations import Access, declared_access
from api.fast_path import Lane
from api.http.middleware import NO_STORE
from api.http.options import WHOLE_SERVER, methods_of_server
from api.http.problems import status_of_exception

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar import Litestar
    from litestar.types import Receive, Send


UUID_CHARS = 36


class Route(Struct, frozen=True, gc=False):
    """A lane's route.

    `before` and `after` stand before and after the id in its path, whose name is `parameter`; without an id, `before`
    is all of it.
    """

    method: str
    before: str
    after: str
    parameter: str
    template: str
    access: Access
    lane: Lane

    def parameters(self, path: str) -> dict[str, UUID] | None:
        """What stands in a path for the parameter; None when the path is another one."""
        if not self.parameter:
            return {} if path == self.before else None
        start, end = len(self.before), len(self.before) + UUID_CHARS
        if len(path) != end + len(self.after) or not path.startswith(self.before) or not path.endswith(self.after):
            return None
        try:
            return {self.parameter: convert(path[start:end], UUID)}
        except ValidationError:
            return None


class Express:
    """ASGI: answers requests for the routes of lanes, leaves all others to the application.

    What its lane leaves to a route's handler was admitted already, and says so at `scope["admitted"]`.
    """

    def __init__(self, app: Litestar) -> None:
        self.app = app
        self._routes: dict[str, list[Route]] = {}
        for route in _routes(app):
            self._routes.setdefault(route.method, []).append(route)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  (gets keys of ours)
        """Serve one request, or the lifespan."""
        if scope["type"] == ScopeType.HTTP and await self._answered(scope, receive):
            return
        await self.app(scope, receive, send)

    async def _answered(self, scope: Any, receive: Receive) -> bool:  # noqa: ANN401  (as above)
        """Whether a lane answered the request."""
        routes = self._routes.get(scope["method"])
        if routes is None:
            return await self._answered_for_server(scope)
        for route in routes:
            parameters = route.parameters(scope["path"])
            if parameters is not None:
                scope["path_params"], scope["path_template"] = parameters, route.template
                return await self._taken(route, scope, receive)
        return False

    async def _answered_for_server(self, scope: Any) -> bool:  # noqa: ANN401  (as above)
        """Whether the request was for the whole server: `OPTIONS *`."""
        if WHOLE_SERVER not in scope:
            return False
        await scope["reply"].whole(204, [(b"allow", methods_of_server(self.app)), NO_STORE], b"")
        return True

    async def _taken(self, route: Route, scope: Any, receive: Receive) -> bool:  # noqa: ANN401  (as above)
        """Whether the route's lane answered; its errors are answered as the framework would."""
        scope["litestar_app"], reply = self.app, scope["reply"]
        try:
            answer = await Visit(scope, route.access).answer(route.lane, receive)
        except HTTPException as error:
            await reply.refuse(status_of_exception(error))
            return True
        if answer is None:
            scope[ADMITTED] = True
            return False
        await reply.whole(answer.status, answer.fields, answer.content)
        return True


def _routes(app: Litestar) -> Iterator[Route]:
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            declared = declared_access(handler)
            if declared and declared.lane:
                before, _, rest = route.path_format.partition("{")
                parameter, _, after = rest.partition("}")
                for method in handler.http_methods:
                    yield Route(method, before, after, parameter, route.path_format, declared, declared.lane)
