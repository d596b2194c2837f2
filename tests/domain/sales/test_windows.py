from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.kernel.times import to_ms
from domain.sales.events import Event

WHOLE = datetime(2026, 11, 28, 7, 14, 23, 302_000, tzinfo=UTC)


def test_no_ticket_is_sold_in_a_millisecond_that_is_partly_outside_the_window():
    event = Event(
        id=UUID(int=1),
        organizer_id=UUID(int=2),
        title="",
        description="",
        location="",
        starts_at=WHOLE + timedelta(days=1),
        ends_at=None,
        capacity=1,
        max_per_user=1,
        sales_open_at=WHOLE + timedelta(microseconds=341),
        sales_close_at=WHOLE + timedelta(milliseconds=5, microseconds=900),
        paused=False,
        suspended=False,
        cancelled_at=None,
        version=1,
        terms_token="",
        created_at=WHOLE,
    )

    assert event.terms.window_ms == (to_ms(WHOLE) + 1, to_ms(WHOLE) + 5)
