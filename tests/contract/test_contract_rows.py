"""The API has exactly the routes of the contract, and each route names a test that covers it."""

from __future__ import annotations

import ast

from api.app import create_litestar
from tests.processes import ROOT

BOOKINGS = "tests/api/resources/test_bookings.py"
AVAILABILITY = "tests/api/resources/test_availability.py"
ADMINISTRATION = "tests/api/resources/test_administration.py"
DOCUMENTATION = "tests/api/reference/test_documentation.py"
CHANGES = "tests/api/resources/test_changes.py"
COMPS = "tests/api/resources/test_comps.py"
HOLDS = "tests/api/resources/test_holds.py"
TYPES = "tests/api/resources/test_ticket_types.py"
POOLS = "tests/api/resources/test_pools.py"
CODES = "tests/api/resources/test_promo_codes.py"
EVENTS = "tests/api/resources/test_events.py"
JOURNEY = "tests/api/resources/test_journey.py"
MISTAKES = "tests/contract/test_past_mistakes.py"
PAYMENTS = "tests/api/resources/test_payments.py"
STRIPE = "tests/stripe/test_paying.py"
TEST_PAYMENTS = "tests/api/resources/test_test_payments.py"
PROBLEMS = "tests/api/http/test_problems.py"
REVOCATION = "tests/api/access/test_revocation.py"
SERVICE = "tests/api/resources/test_service.py"
BUYERS = "tests/api/pages/test_buyers.py"
CALENDARS = "tests/api/resources/test_calendars.py"

ROWS = {
    "POST /api/v1/auth/signup": f"{MISTAKES}::test_a_validation_error_never_echoes_the_password",
    "POST /api/v1/auth/login": f"{PROBLEMS}::test_wrong_password_and_unknown_address_are_answered_alike",
    "GET /api/v1/auth/refresh_token": (
        f"{REVOCATION}::test_a_refresh_token_works_once_and_its_second_use_ends_the_session"
    ),
    "POST /api/v1/auth/refresh_token": f"{MISTAKES}::test_a_banned_accounts_refresh_token_mints_nothing",
    "GET /api/v1/auth/logout": "tests/contract/test_contract_rows.py::test_a_session_ends_by_get_as_by_post",
    "POST /api/v1/auth/logout": f"{REVOCATION}::test_an_ended_token_is_dead_everywhere",
    "GET /api/v1/me": f"{REVOCATION}::test_a_living_token_works_after_redis_was_wiped",
    "PATCH /api/v1/me": f"{MISTAKES}::test_a_new_password_asks_for_the_current_one",
    "DELETE /api/v1/me": f"{MISTAKES}::test_closing_an_account_returns_the_tickets_of_future_bookings_only",
    "PATCH /api/v1/me/role": f"{REVOCATION}::test_a_switched_role_comes_with_tokens_that_have_it",
    "GET /api/v1/dashboard": f"{ADMINISTRATION}::test_each_role_has_its_dashboard",
    "GET /api/v1/events": f"{EVENTS}::test_events_are_listed_soonest_first_by_cursor_and_by_skip",
    "GET /api/v1/events/{event_id}": f"{EVENTS}::test_a_known_event_is_not_sent_again",
    "GET /api/v1/events/{event_id}/availability": (
        f"{AVAILABILITY}::test_what_is_left_is_what_the_scarcest_pool_allows_in_units_of_the_weight"
    ),
    "POST /api/v1/events": f"{EVENTS}::test_an_event_is_made_where_its_location_says",
    "PATCH /api/v1/events/{event_id}": f"{EVENTS}::test_capacity_does_not_fall_below_what_is_sold",
    "DELETE /api/v1/events/{event_id}": f"{EVENTS}::test_a_cancelled_event_leaves_the_list_and_keeps_its_record",
    "GET /api/v1/events/{event_id}/ticket-types": (
        f"{TYPES}::test_hidden_types_are_seen_by_their_organizer_admins_and_with_a_code"
    ),
    "POST /api/v1/events/{event_id}/ticket-types": f"{TYPES}::test_a_type_keeps_the_rules_of_its_fields",
    "PATCH /api/v1/events/{event_id}/ticket-types/{type_id}": (
        f"{TYPES}::test_what_a_type_takes_is_fixed_while_bookings_have_tickets_of_it"
    ),
    "DELETE /api/v1/events/{event_id}/ticket-types/{type_id}": (
        f"{TYPES}::test_a_type_with_bookings_is_archived_and_never_deleted"
    ),
    "GET /api/v1/events/{event_id}/pools": f"{POOLS}::test_family_tickets_do_not_oversell_the_pool_above",
    "POST /api/v1/events/{event_id}/pools": f"{POOLS}::test_pools_are_nested_to_a_depth_and_never_in_a_circle",
    "PATCH /api/v1/events/{event_id}/pools/{pool_id}": (
        f"{POOLS}::test_the_size_of_a_pool_does_not_fall_below_what_is_sold_and_held"
    ),
    "DELETE /api/v1/events/{event_id}/pools/{pool_id}": f"{POOLS}::test_a_pool_is_removed_once_nothing_uses_it",
    "GET /api/v1/events/{event_id}/promo-codes": f"{CODES}::test_codes_are_listed_page_by_page_and_found_by_a_part",
    "POST /api/v1/events/{event_id}/promo-codes": (
        f"{CODES}::test_a_thousand_codes_are_generated_at_once_and_each_is_another"
    ),
    "PATCH /api/v1/events/{event_id}/promo-codes/{code_id}": (
        f"{CODES}::test_the_uses_of_a_code_do_not_fall_below_what_is_used"
    ),
    "DELETE /api/v1/events/{event_id}/promo-codes/{code_id}": (
        f"{CODES}::test_an_ended_code_keeps_the_price_of_holds_and_leaves_its_text"
    ),
    "POST /api/v1/bookings": f"{BOOKINGS}::test_one_key_makes_one_booking",
    "GET /api/v1/bookings/{booking_id}/status": (
        f"{BOOKINGS}::test_an_accepted_booking_is_read_at_once_on_every_process"
    ),
    "POST /api/v1/bookings/{booking_id}/extend": f"{HOLDS}::test_a_hold_is_extended_until_its_cap",
    "POST /api/v1/events/{event_id}/comps": f"{COMPS}::test_a_guest_gets_free_tickets_in_the_organizers_name",
    "PATCH /api/v1/bookings/{booking_id}": f"{CHANGES}::test_a_booking_gives_back_some_of_its_tickets",
    "GET /api/v1/bookings/my-bookings": f"{BOOKINGS}::test_own_bookings_are_listed_page_by_page_newest_first",
    "GET /api/v1/bookings/{booking_id}/calendar": (
        f"{CALENDARS}::test_a_calendar_shows_the_event_at_its_instant_in_summer_and_in_winter"
    ),
    "DELETE /api/v1/bookings/{booking_id}": (
        f"{MISTAKES}::test_a_booking_cancelled_32_times_at_once_returns_its_tickets_once"
    ),
    "GET /api/v1/bookings/{event_id}": f"{BOOKINGS}::test_a_guest_list_is_for_the_events_owner_and_admins",
    "POST /api/v1/bookings/{booking_id}/confirm": f"{PAYMENTS}::test_an_organizer_confirms_a_hold_with_a_payment",
    "POST /api/v1/bookings/{booking_id}/pay": (
        f"{STRIPE}::test_a_buyer_pays_at_stripe_and_a_webhook_confirms_the_booking"
    ),
    "POST /api/v1/bookings/{booking_id}/refund-paid": (
        f"{PAYMENTS}::test_a_payment_that_comes_too_late_is_owed_until_its_refund_is_reported"
    ),
    "POST /api/v1/payments/stripe/webhook": f"{STRIPE}::test_a_message_with_a_wrong_signature_is_refused",
    "POST /api/v1/payments/test/{intent_id}": f"{TEST_PAYMENTS}::test_the_button_pay_confirms_the_booking",
    "GET /pay/{intent_id}": f"{TEST_PAYMENTS}::test_the_button_pay_confirms_the_booking",
    "POST /api/v1/admin/auth/login": (
        f"{MISTAKES}::test_the_admins_login_refuses_wrong_passwords_and_whoever_is_no_admin"
    ),
    "GET /api/v1/admin/users/attendees": f"{ADMINISTRATION}::test_lists_count_active_bookings_and_sold_tickets",
    "GET /api/v1/admin/users/organizers": f"{ADMINISTRATION}::test_lists_count_active_bookings_and_sold_tickets",
    "GET /api/v1/admin/users/details/{user_id}": f"{MISTAKES}::test_no_answer_carries_a_password_hash",
    "PATCH /api/v1/admin/users/role/{user_id}": f"{ADMINISTRATION}::test_the_last_admin_stays_and_nobody_bans_itself",
    "DELETE /api/v1/admin/users/{user_id}": (
        f"{ADMINISTRATION}::test_a_ban_pauses_the_organizers_events_and_ends_its_login"
    ),
    "POST /api/v1/admin/users/{user_id}/unban": f"{MISTAKES}::test_unbanning_does_not_revive_the_tokens_of_before",
    "GET /api/v1/admin/audit-log": f"{ADMINISTRATION}::test_every_action_leaves_an_audit_entry",
    "GET /api/v1/admin/events/{event_id}/reconciliation": (
        f"{ADMINISTRATION}::test_the_books_of_an_event_are_shown_side_by_side"
    ),
    "POST /api/v1/admin/events/{event_id}/reconciliation": f"{ADMINISTRATION}::test_every_action_leaves_an_audit_entry",
    "GET /health/live": "tests/api/access/test_limits.py::test_health_is_answered_without_redis_and_without_limit",
    "GET /health/ready": f"{SERVICE}::test_ready_is_what_can_sell",
    "GET /metrics": f"{SERVICE}::test_metrics_count_answers_by_route_and_name_nobody",
    "GET /api/v1/docs": f"{DOCUMENTATION}::test_pages_load_nothing_from_elsewhere",
    "GET /api/v1/redoc": f"{DOCUMENTATION}::test_pages_load_nothing_from_elsewhere",
    "GET /api/v1/openapi.json": f"{DOCUMENTATION}::test_the_document_is_openapi_3_1",
    # Not of the contract, but of its pages.
    "GET /": f"{BUYERS}::test_what_is_on_is_in_the_page_and_can_be_searched",
    "GET /events/{event_id}": f"{BUYERS}::test_an_event_is_usable_without_a_script",
    "GET /login": "tests/browser/test_sessions.py::test_no_script_sees_a_token",
    "GET /signup": "tests/browser/test_buying.py::test_a_newcomer_signs_up_and_books_without_losing_the_choice",
    "GET /bookings": "tests/browser/test_buying.py::test_a_booking_is_found_put_into_a_calendar_and_cancelled",
    "GET /bookings/{booking_id}": "tests/browser/test_trouble.py::test_a_booking_is_followed_until_it_is_confirmed",
    "GET /assets/{name}": f"{BUYERS}::test_assets_are_kept_for_ever_under_an_address_of_their_content",
    "GET /api/v1/docs/assets/{name}": f"{DOCUMENTATION}::test_assets_come_from_the_installed_package",
    "GET /api/v1/docs/problems": f"{DOCUMENTATION}::test_the_type_of_a_problem_leads_to_its_paragraph",
}
"""The contract's routes, each with a test that says what it is for."""


def test_the_routes_are_those_of_the_contract(settings):
    routes = {
        f"{method} {route.path_format}"
        for route in create_litestar(settings).routes
        for method in set(route.methods) - {"OPTIONS"}
    }

    assert routes == set(ROWS)


def test_every_row_names_a_test_that_there_is():
    missing = [named for named in ROWS.values() if not _is_there(*named.split("::"))]

    assert missing == []


async def test_a_session_ends_by_get_as_by_post(callers):
    caller = await callers.attendee()

    left = await caller.get("/api/v1/auth/logout")

    assert (left.status_code, left.content) == (204, b"")
    assert (await caller.get("/api/v1/me")).status_code == 401
    assert (await caller.post("/api/v1/auth/refresh_token", token=caller.refresh_token)).status_code == 401


def _is_there(path, name):
    tree = ast.parse((ROOT / path).read_text())
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in tree.body)
