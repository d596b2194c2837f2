"""The successful answers of every operation in the OpenAPI document, described in words of our own.

Without them the framework describes each status in its own words.
"""

from __future__ import annotations

from typing import Any

_UNCHANGED = {"description": "The caller has the current version already: its `ETag` is in `If-None-Match`."}

ANSWERS: dict[str, str] = {
    "admin_assign_role": "The account with its new role.",
    "admin_attendees": "A page of attendees.",
    "admin_audit_log": "A page of the audit log.",
    "admin_ban": "The account is banned.",
    "admin_details": "The account.",
    "admin_log_in": "The tokens of a new session.",
    "admin_organizers": "A page of organizers.",
    "admin_reconciliation": "The counts of the event.",
    "admin_repair": "The differences that were found, and the counts of the event after the repair.",
    "admin_unban": "The account can be used again.",
    "availability_show": "What is left of each ticket type, or its changes as a stream.",
    "auth_log_in": "The tokens of a new session.",
    "auth_log_out": "The session has ended.",
    "auth_log_out_by_get": "The session has ended.",
    "auth_refresh": "Two new tokens of the same session.",
    "auth_refresh_by_get": "Two new tokens of the same session.",
    "auth_sign_up": "The new account.",
    "bookings_calendar": "The calendar file.",
    "bookings_cancel": "The cancelled booking.",
    "changes_reduce": "The booking with the tickets that remain.",
    "comps_create": "The tickets are taken. The booking is `pending` until it is stored; follow `Location`.",
    "holds_extend": "The hold with its new deadline.",
    "bookings_create": "The booking was accepted. It is `pending` until it is stored; follow `Location`.",
    "bookings_guests": "A page of the guest list, or the whole list as a file.",
    "bookings_mine": "A page of the caller's bookings.",
    "bookings_status": "The booking, or its changes as a stream.",
    "dashboard_show": "The dashboard for the caller's role.",
    "events_cancel": "The cancelled event.",
    "events_change": "The event after the change.",
    "events_create": "The new event.",
    "events_page": "A page of events.",
    "events_show": "The event.",
    "me_change": "The account after the change.",
    "me_leave": "The account is closed.",
    "me_show": "The account.",
    "me_switch_role": "The account with its role, and new tokens.",
    "pools_change": "The pool after the change.",
    "pools_create": "The new pool.",
    "pools_page": "The pools of the event.",
    "pools_remove": "The pool is removed.",
    "promo_codes_archive": "The promo code cannot be used any more.",
    "promo_codes_change": "The promo code after the change.",
    "promo_codes_create": "The new promo codes.",
    "promo_codes_page": "A page of promo codes.",
    "payments_confirm": "The hold is confirmed; the booking is `pending` until it is stored.",
    "payments_pay": "What the buyer needs to pay.",
    "payments_refund_paid": "The booking, with the refund.",
    "payments_test": "The payment was made, or declined.",
    "payments_stripe": "The message is taken; a payment stands.",
    "service_live": "The process runs.",
    "service_metrics": "Metrics in the text format of Prometheus.",
    "service_ready": "Bookings can be taken.",
    "ticket_types_archive": "The ticket type is not sold any more.",
    "ticket_types_change": "The ticket type after the change.",
    "ticket_types_create": "The new ticket type.",
    "ticket_types_page": "The ticket types of the event.",
}
"""The description of an operation's usual answer, by operation id."""

_COOKIES = {"204": {"description": "The tokens are in cookies; the request asked for it with `Onsale-Session`."}}

MORE_ANSWERS: dict[str, dict[str, dict[str, Any]]] = {
    "admin_log_in": _COOKIES,
    "auth_log_in": _COOKIES,
    "auth_refresh": _COOKIES,
    "auth_refresh_by_get": _COOKIES,
    "me_switch_role": _COOKIES,
    "bookings_create": {
        "200": {
            "description": "An earlier request with this `Idempotency-Key` made the booking, and it is final.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BookingShown"}}},
        },
        "201": {
            "description": "With `Prefer: wait=N`: the booking was confirmed in time.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BookingShown"}}},
        },
    },
    "comps_create": {
        "200": {
            "description": "An earlier request with this `Idempotency-Key` made the booking, and it is final.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BookingShown"}}},
        },
    },
    "bookings_status": {
        "200": {
            "description": ANSWERS["bookings_status"],
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/BookingShown"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        "204": {"description": "`Last-Event-ID` is the final state, so the stream has ended; do not reconnect."},
        "304": _UNCHANGED,
    },
    "bookings_guests": {
        "200": {
            "description": ANSWERS["bookings_guests"],
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/GuestPage"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        }
    },
    "bookings_calendar": {
        "200": {
            "description": ANSWERS["bookings_calendar"],
            "content": {"text/calendar": {"schema": {"type": "string"}}},
        }
    },
    "availability_show": {
        "200": {
            "description": ANSWERS["availability_show"],
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/EventAvailability"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        "304": _UNCHANGED,
    },
    "events_show": {"304": _UNCHANGED},
    "payments_confirm": {
        "200": {
            "description": "An earlier request with this reference confirmed it.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BookingShown"}}},
        },
        "201": {
            "description": "With `Prefer: wait=N`: the booking was confirmed in time.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BookingShown"}}},
        },
    },
    "service_ready": {
        "503": {
            "description": "Bookings cannot be taken; the body says what is missing.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Readiness"}}},
        }
    },
    "service_metrics": {
        "200": {
            "description": ANSWERS["service_metrics"],
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
}
"""Further answers of operations, and answers in several media types, by operation id and status."""
