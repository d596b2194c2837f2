"""Examples in the OpenAPI document. All of them show the same event, booking and account."""

from __future__ import annotations

from typing import Any

EVENT_ID = "6f1f0a5e-2b9c-4f57-9c1d-0d6a3f2b7e10"
BOOKING_ID = "b3b8f3c2-7a41-4c0e-8f0a-5d1c2e9a4f77"
BUYER_ID = "2c9d1e44-51b6-4a0f-b6a3-9f0e8c7d6b5a"
ORGANIZER_ID = "9a7e6d5c-4b3a-4210-8fed-cba987654321"

TYPE_ID = "1d0c3b2a-9f8e-4d6c-8b5a-4f3e2d1c0b9a"
POOL_ID = "7b6a5948-3726-4150-9f8e-7d6c5b4a3928"
CODE_ID = "3c2b1a09-f8e7-4d6c-95b4-a39281706f5e"

_LONG_AGO = "2026-01-10T09:00:00Z"
_PASSWORD = "a fine long passphrase"  # noqa: S105  (of nobody)
_TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIyYzlkMWU0NCJ9.c2lnbmF0dXJl"  # noqa: S105  (of nobody)

_PROFILE = {"id": BUYER_ID, "email": "ada@example.org", "role": "attendee", "created_at": _LONG_AGO}
_TOKENS = {"access_token": _TOKEN, "refresh_token": _TOKEN, "token_type": "Bearer", "expires_in": 1800}

_EVENT_DRAFT = {
    "title": "An evening of counters",
    "location": "Tempodrom, Berlin",
    "description": "Two hours, one interval.",
    "time_zone": "Europe/Berlin",
    "starts_at_local": "2099-06-01T19:00:00",
    "capacity": 600,
    "max_per_user": 4,
}
_EVENT = _EVENT_DRAFT | {
    "id": EVENT_ID,
    "organizer_id": ORGANIZER_ID,
    "starts_at": "2099-06-01T17:00:00Z",
    "ends_at": None,
    "remaining": 598,
    "booked": 2,
    "sales_open_at": None,
    "sales_close_at": None,
    "status": "on_sale",
    "suspended": False,
    "series_id": None,
    "currency": None,
    "currency_decimals": None,
    "payment": "none",
    "hold_seconds": 600,
    "hold_extend_until_seconds": 1200,
    "max_holds_per_user": 3,
    "refund_on_owner_cancel": "none",
    "version": 1,
    "created_at": _LONG_AGO,
}
_BOOKING = {
    "id": BOOKING_ID,
    "event_id": EVENT_ID,
    "user_id": BUYER_ID,
    "quantity": 2,
    "status": "confirmed",
    "created_at": "2026-01-12T10:00:00.120Z",
    "confirmed_at": "2026-01-12T10:00:00.164Z",
    "cancelled_at": None,
    "reason": None,
}
_LINE = {
    "ticket_type_id": EVENT_ID,
    "name": "General admission",
    "quantity": 2,
    "unit_price_minor": 0,
    "discount_minor": 0,
    "sum_minor": 0,
}
_TYPE_DRAFT = {"name": "Stalls", "price_minor": 3900, "pools": [POOL_ID], "max_per_booking": 6}
_TYPE = {
    "id": TYPE_ID,
    "event_id": EVENT_ID,
    "description": "",
    "weight": 1,
    "takes_room": True,
    "counts_for_max_per_user": True,
    "requires_type_id": None,
    "min_per_booking": 1,
    "max_per_user": None,
    "sales_open_at": None,
    "sales_close_at": None,
    "hidden": False,
    "position": 0,
    "version": 1,
    "created_at": _LONG_AGO,
} | _TYPE_DRAFT
_POOL_DRAFT = {"name": "Stalls", "size": 400, "parent_id": None}
_POOL = _POOL_DRAFT | {"id": POOL_ID, "event_id": EVENT_ID, "taken": 2, "version": 1, "created_at": _LONG_AGO}
_CODE_DRAFT = {"code": "EARLYBIRD", "percent_off": 15, "max_uses": 200}
_CODE = _CODE_DRAFT | {
    "id": CODE_ID,
    "event_id": EVENT_ID,
    "used": 1,
    "max_uses_per_user": None,
    "amount_off_minor": None,
    "ticket_types": None,
    "valid_from": None,
    "valid_until": None,
    "unlocks_hidden": False,
    "version": 1,
    "created_at": _LONG_AGO,
}
_LEFT = {
    "ticket_type_id": EVENT_ID,
    "name": "General admission",
    "description": "",
    "status": "on_sale",
    "remaining": 598,
    "price_minor": 0,
    "currency": None,
    "min_per_booking": 1,
    "max_per_booking": 100,
    "max_per_user": None,
    "requires_type_id": None,
    "sales_open_at": None,
    "sales_close_at": None,
    "hidden": False,
}
_BOOKS = {
    "event_id": EVENT_ID,
    "capacity": 600,
    "remaining": 598,
    "pending": 0,
    "confirmed": 2,
    "drift": 0,
    "pool_drift": 0,
}
_TOTALS = {"sold": 2, "held": 0, "remaining": 598, "refused": {"sold_out": 3}}
_COUNTS = {"booking_count": 1, "tickets": 2, "event_count": 0, "tickets_sold": 0, "revenue_minor": {}}
_STATE = {"id": BUYER_ID, "status": "banned"}
_ACCOUNT = {"id": BUYER_ID, "email": "ada@example.org", "role": "attendee", "status": "active", "created_at": _LONG_AGO}

EXAMPLES: dict[str, Any] = {
    "Signup": {"email": "ada@example.org", "password": _PASSWORD, "role": "attendee"},
    "Credentials": {"email": "ada@example.org", "password": _PASSWORD},
    "ProfilePatch": {"current_password": _PASSWORD, "email": "ada.lovelace@example.org"},
    "OwnRole": {"role": "organizer"},
    "Farewell": {"current_password": _PASSWORD},
    "RoleChange": {"role": "organizer"},
    "EventDraft": _EVENT_DRAFT,
    "EventPatch": {"capacity": 650},
    "TicketTypeDraft": _TYPE_DRAFT,
    "TicketTypePatch": {"price_minor": 4200},
    "TicketTypeShown": _TYPE,
    "PoolDraft": _POOL_DRAFT,
    "PoolPatch": {"size": 420},
    "PoolShown": _POOL,
    "PromoCodeDraft": _CODE_DRAFT,
    "PromoCodePatch": {"max_uses": 250},
    "PromoCodeShown": _CODE,
    "PromoCodesMade": {"items": [_CODE]},
    "OrderItem": {"ticket_type_id": EVENT_ID, "quantity": 2},
    "Comp": {
        "email": "grace@example.org",
        "name": "Grace Hopper",
        "items": [{"ticket_type_id": EVENT_ID, "quantity": 2}],
    },
    "KeptItem": {"ticket_type_id": EVENT_ID, "quantity": 1},
    "BookingPatch": {"items": [{"ticket_type_id": EVENT_ID, "quantity": 1}]},
    "OrderLine": _LINE,
    "BookingOrder": {"event_id": EVENT_ID, "quantity": 2},
    "PaymentReport": {"payment_reference": "INV-2026-0117", "amount_minor": 7800, "currency": "EUR"},
    "RefundReport": {"refund_reference": "PAYOUT-0031", "amount_minor": 7800, "currency": "EUR"},
    "PaymentBegun": {
        "provider": "stripe",
        "reference": "pi_3Nabcdefghijklmn",
        "client_secret": "pi_3Nabcdefghijklmn_secret_0pqrstuvwxyz",
        "url": None,
        "amount_minor": 7800,
        "currency": "EUR",
        "expires_at": "2026-01-12T10:10:00Z",
    },
    "ProviderOutcome": {"outcome": "pay"},
    "MessageTaken": {"payment": True},
    "Profile": _PROFILE,
    "Session": _TOKENS | {"user": {"id": BUYER_ID, "email": "ada@example.org", "role": "attendee"}},
    "NewRole": _PROFILE | _TOKENS | {"role": "organizer"},
    "AccountState": _STATE,
    "EventShown": _EVENT,
    "EventShownPage": {"items": [_EVENT], "next_cursor": None, "total": 1},
    "TypeAvailable": _LEFT,
    "EventAvailability": {
        "event_id": EVENT_ID,
        "status": "on_sale",
        "currency": None,
        "currency_decimals": None,
        "items": [_LEFT],
    },
    "BookingShown": _BOOKING,
    "Guest": {
        "booking_id": BOOKING_ID,
        "user_id": BUYER_ID,
        "email": "ada@example.org",
        "quantity": 2,
        "status": "confirmed",
        "created_at": _BOOKING["created_at"],
        "name": None,
        "items": [_LINE],
        "total_minor": 0,
        "currency": None,
    },
    "AttendeeDashboard": {"upcoming": [_BOOKING], "counts": {"confirmed": 1}, "next_cursor": None},
    "OrganizerDashboard": {
        "events": [{"event": _EVENT, "revenue_minor": 0} | _TOTALS],
        "totals": {"events": 1, "revenue_minor": {"EUR": 0}} | _TOTALS,
        "next_cursor": None,
    },
    "AdminDashboard": {
        "users": {"attendee": 1, "organizer": 1, "admin": 1},
        "events": {"on_sale": 1},
        "bookings": {"confirmed": 1},
        "queue": {"persist_lag_ms": 0, "depth": 0},
        "drift": 0,
    },
    "AttendeeRow": _ACCOUNT | {"booking_count": 1, "tickets": 2},
    "OrganizerRow": _ACCOUNT | {"id": ORGANIZER_ID, "role": "organizer", "event_count": 1, "tickets_sold": 2},
    "UserDetails": {"profile": _PROFILE, "status": "active", "counts": _COUNTS, "bookings": [_BOOKING], "events": []},
    "AuditEntry": {
        "id": 1,
        "at": _LONG_AGO,
        "actor_id": ORGANIZER_ID,
        "action": "account.banned",
        "target_id": BUYER_ID,
        "detail": {},
    },
    "Reconciliation": _BOOKS,
    "ReconciliationDone": {"repairs": [], "after": _BOOKS},
    "ProblemDetails": {
        "type": "/api/v1/docs/problems#sold_out",
        "title": "Sold out",
        "status": 409,
        "detail": "No tickets are left.",
        "instance": "0af7651916cd43dd8448eb211c80319c",
        "code": "sold_out",
    },
}
"""Examples by the name of their schema. A test validates each against the schema."""
