"""The route table: every controller that is part of the API."""

from __future__ import annotations

from litestar import Router

from api.http.queries import CHECKS_QUERY
from api.resources.admin import AdminController
from api.resources.auth import AuthController
from api.resources.availability import AvailabilityController
from api.resources.bookings import BookingController
from api.resources.changes import ChangeController
from api.resources.comps import CompController
from api.resources.dashboard import DashboardController
from api.resources.events import EventController
from api.resources.holds import HoldController
from api.resources.me import MeController
from api.resources.payments import PaymentController, WebhookController
from api.resources.pools import PoolController
from api.resources.promo_codes import PromoCodeController
from api.resources.service import ServiceController
from api.resources.ticket_types import TicketTypeController

PREFIX = "/api/v1"
"""The version of the contract. Health and metrics are outside of it."""


def api_routes() -> tuple[Router, type[ServiceController]]:
    """The routes that the OpenAPI document describes."""
    versioned = Router(
        PREFIX,
        opt={CHECKS_QUERY: True},
        route_handlers=[
            AuthController,
            MeController,
            DashboardController,
            EventController,
            TicketTypeController,
            PoolController,
            PromoCodeController,
            AvailabilityController,
            BookingController,
            HoldController,
            ChangeController,
            CompController,
            PaymentController,
            WebhookController,
            AdminController,
        ],
    )
    return versioned, ServiceController
