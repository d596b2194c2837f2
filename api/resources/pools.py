"""The pools of an event: `/events/{id}/pools`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from api.access.declarations import ORGANIZERS, access
from api.context import process
from api.http.bodies import LINE_PATTERN, Body
from api.http.conditional import expected_version, version_etag
from api.resources.ticket_types import WRITE_REFUSALS, check_owns, owned_event, set_fields
from api.shapes import Page
from domain.accounts.tokens import Token
from domain.kernel.refusals import CapacityBelowSold, EventCancelled, EventNotFound, EventOver, InUse, PoolNotFound
from domain.sales.ticket_types import POOL_SIZE_MAX

if TYPE_CHECKING:
    from domain.sales.events import Event
    from domain.sales.ticket_types import TicketPool

PoolName = Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE_PATTERN)]
PoolSize = Annotated[int, Meta(ge=0, le=POOL_SIZE_MAX)]


class PoolDraft(Body):
    """A new pool: a part of the room or the stock of an event. `parent_id` is the pool that contains it."""

    name: PoolName
    size: PoolSize
    parent_id: UUID | None = None


class PoolPatch(Body):
    """Changes of a pool. Fields that are left out stay as they are."""

    name: PoolName | UnsetType = UNSET
    size: PoolSize | UnsetType = UNSET
    parent_id: UUID | UnsetType | None = UNSET


class PoolShown(Struct, frozen=True, kw_only=True):
    """A pool. `taken` units of `size` are taken at this moment, by bookings and holds of all pools in it."""

    id: UUID
    event_id: UUID
    name: str
    size: int
    taken: int
    parent_id: UUID | None
    version: int
    created_at: datetime

    @classmethod
    def of(cls, pool: TicketPool, *, size: int, taken: int) -> PoolShown:
        """A pool with its counter."""
        return cls(
            id=pool.id,
            event_id=pool.event_id,
            name=pool.name,
            size=size,
            taken=taken,
            parent_id=pool.parent_id,
            version=pool.version,
            created_at=pool.created_at,
        )


class PoolController(Controller):
    """The pools of an event."""

    path = "/events/{event_id:uuid}/pools"
    tags = ("Ticket types",)

    @get("/", **access(ORGANIZERS, refuses=(EventNotFound,)))
    async def page(self, request: Request[Token, Any, Any], event_id: FromPath[UUID]) -> Page[PoolShown]:
        """List the pools of an event, oldest first. An event has at most 50, all on one page."""
        event = await owned_event(request, event_id)
        return Page(items=await _shown(request, event, event.full_catalogue.pools), next_cursor=None)

    @post(
        "/",
        status_code=201,
        **access(
            ORGANIZERS,
            limit="catalogue_update",
            refuses=(EventNotFound, EventCancelled, EventOver),
            sends={201: ("ETag",)},
        ),
    )
    async def create(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], data: JSONBody[PoolDraft]
    ) -> Response[PoolShown]:
        """Add a pool to an event. Ticket types that name it take from it, and from every pool that contains it."""
        await check_owns(request, event_id)
        event, made = await process(request).stores.selling.add_pool(
            event_id, **set_fields(data), caller=request.user.caller
        )
        return await _response(request, event, made, status_code=201)

    @patch(
        "/{pool_id:uuid}",
        **access(
            ORGANIZERS,
            limit="catalogue_update",
            refuses=(*WRITE_REFUSALS, PoolNotFound, CapacityBelowSold, InUse),
            reads=("If-Match",),
            sends={200: ("ETag",)},
        ),
    )
    async def change(
        self,
        request: Request[Token, Any, Any],
        event_id: FromPath[UUID],
        pool_id: FromPath[UUID],
        data: JSONBody[PoolPatch],
    ) -> Response[PoolShown]:
        """Change a pool. Sales follow a new size at once; it cannot be less than what is taken.

        `parent_id` is fixed while tickets of the pool are taken. With `If-Match`, only that version is changed.
        """
        before = (await owned_event(request, event_id)).full_catalogue.pool(pool_id)
        event, changed = await process(request).stores.selling.change_pool(
            event_id,
            pool_id,
            set_fields(data),
            caller=request.user.caller,
            expected_version=expected_version(request.scope, before.version),
        )
        return await _response(request, event, changed)

    @delete(
        "/{pool_id:uuid}",
        status_code=204,
        **access(
            ORGANIZERS, limit="catalogue_update", refuses=(*WRITE_REFUSALS, PoolNotFound, InUse), reads=("If-Match",)
        ),
    )
    async def remove(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], pool_id: FromPath[UUID]
    ) -> None:
        """Remove a pool that no ticket type uses and that contains no other pool."""
        before = (await owned_event(request, event_id)).full_catalogue.pool(pool_id)
        await process(request).stores.selling.remove_pool(
            event_id,
            pool_id,
            caller=request.user.caller,
            expected_version=expected_version(request.scope, before.version),
        )


async def _shown(request: Request[Any, Any, Any], event: Event, pools: tuple[TicketPool, ...]) -> list[PoolShown]:
    states = await process(request).stores.selling.states_of_pools(event, pools)
    return [PoolShown.of(pool, size=size, taken=taken) for pool, (size, taken) in zip(pools, states, strict=True)]


async def _response(
    request: Request[Any, Any, Any], event: Event, pool: TicketPool, *, status_code: int = 200
) -> Response[PoolShown]:
    (shown,) = await _shown(request, event, (pool,))
    return Response(shown, status_code=status_code, headers={"ETag": version_etag(pool.version)})
