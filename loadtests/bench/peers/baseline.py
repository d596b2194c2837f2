"""The baseline: bookings as most people would build them.

FastAPI, SQLAlchemy's asyncio ORM, the event's row locked by `SELECT … FOR UPDATE`, one transaction for each booking,
on the same PostgreSQL. It has no revocation of tokens and no limits.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator  # noqa: TC003  (FastAPI reads it when the program runs)
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from loadtests.bench.peers.serving import serve

BEARER = "Bearer "

engine = create_async_engine(os.environ["BASELINE_URL"])
session_of = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The tables."""


class EventRow(Base):
    """An event and the number of its tickets that are sold."""

    __tablename__ = "events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    capacity: Mapped[int]
    max_per_user: Mapped[int]
    booked: Mapped[int] = mapped_column(default=0)


class BookingRow(Base):
    """A booking."""

    __tablename__ = "bookings"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), index=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    quantity: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EventBody(BaseModel):
    """A new event."""

    id: UUID
    capacity: int
    max_per_user: int


class OrderBody(BaseModel):
    """The request of a booking."""

    event_id: UUID
    quantity: int = Field(default=1, ge=1, le=100)


class BookingBody(BaseModel):
    """The answer of a booking."""

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    status: str
    created_at: datetime


@asynccontextmanager
async def serving(_: FastAPI) -> AsyncIterator[None]:
    """Make the tables before the first request."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=serving)


async def session() -> AsyncIterator[AsyncSession]:
    """A session for each request."""
    async with session_of() as opened:
        yield opened


def account_id(authorization: Annotated[str, Header()]) -> UUID:
    """The caller, by a token of the API."""
    try:
        claims = jwt.decode(
            authorization.removeprefix(BEARER),
            os.environ["JWT_SECRET"],
            algorithms=["HS256"],
            options={"verify_aud": False},
        )
    except jwt.InvalidTokenError as error:
        raise HTTPException(401) from error
    return UUID(claims["sub"])


@app.post("/events", status_code=201)
async def create_event(body: EventBody, db: Annotated[AsyncSession, Depends(session)]) -> None:
    """Put an event on sale."""
    db.add(EventRow(**body.model_dump()))
    await db.commit()


@app.post("/bookings", status_code=201)
async def create_booking(
    body: OrderBody,
    user_id: Annotated[UUID, Depends(account_id)],
    idempotency_key: Annotated[str, Header()],
    db: Annotated[AsyncSession, Depends(session)],
) -> BookingBody:
    """Book if tickets are left and the account stays within its limit."""
    event = await db.scalar(select(EventRow).where(EventRow.id == body.event_id).with_for_update())
    if event is None:
        raise HTTPException(404)
    if event.booked + body.quantity > event.capacity:
        raise HTTPException(409, "sold out")
    theirs = select(func.coalesce(func.sum(BookingRow.quantity), 0)).where(
        BookingRow.event_id == event.id, BookingRow.user_id == user_id
    )
    if (await db.scalar(theirs) or 0) + body.quantity > event.max_per_user:
        raise HTTPException(409, "limit reached")
    event.booked += body.quantity
    booking = BookingRow(
        id=uuid4(),
        event_id=event.id,
        user_id=user_id,
        idempotency_key=f"{user_id}:{idempotency_key}",
        quantity=body.quantity,
        created_at=datetime.now(UTC).replace(tzinfo=None),
    )
    db.add(booking)
    await db.commit()
    return BookingBody(
        id=booking.id,
        event_id=booking.event_id,
        user_id=booking.user_id,
        quantity=booking.quantity,
        status="confirmed",
        created_at=booking.created_at,
    )


if __name__ == "__main__":
    serve(app)
