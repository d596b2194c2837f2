"""The composition root: opens the stores of a process on the servers that its settings name."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from arq import ArqRedis
from msgspec import Struct

from domain.actions.availability import Availability
from domain.actions.bookings import BoxOffice
from domain.actions.events import EventActions
from domain.actions.payments import MoneyStores, PaymentActions
from domain.actions.selling import SellingActions
from domain.actions.terms import TermsCache
from domain.platform.failpoints import arm
from domain.store.books import Books
from domain.store.clocks import Clocks
from domain.store.job_queue import Doorbell, open_queue
from domain.store.payment_providers.configured import configured_providers
from domain.store.postgres.accounts.accounts import Accounts
from domain.store.postgres.accounts.sessions import Sessions
from domain.store.postgres.database import Database
from domain.store.postgres.epochs import Epochs
from domain.store.postgres.events.catalog import Catalog
from domain.store.postgres.events.past_events import PastEvents
from domain.store.postgres.events.promo_codes import PromoCodes
from domain.store.postgres.events.reads import EventReads
from domain.store.postgres.events.selling import Selling
from domain.store.postgres.events.writes import EventWrites
from domain.store.postgres.ledger import Ledger
from domain.store.postgres.payments.begun import BegunPayments
from domain.store.postgres.payments.payments import Payments
from domain.store.postgres.payments.refunds import Refunds
from domain.store.postgres.write_ahead import Intents
from domain.store.redis.admission import Admission
from domain.store.redis.holds import Holds
from domain.store.redis.inventory import Inventory
from domain.store.redis.pipeline import Pipeline
from domain.store.redis.refusal_counts import RefusalCounts
from domain.store.redis.scripts import Scripts
from domain.store.redis.unpersisted_sets import UnpersistedSets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import SecretStr

    from domain.platform.settings import Settings

log = structlog.get_logger()


class Retention(Struct, frozen=True):
    """How long audit rows, repair rows and the counters of past events are kept."""

    audit_log: timedelta
    repairs: timedelta
    past_counters: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Retention:
        """The retention that the settings ask for."""
        return cls(
            audit_log=timedelta(days=settings.audit_log_days),
            repairs=timedelta(days=settings.repairs_days),
            past_counters=timedelta(days=settings.event_close_after_days),
        )


class Stores(Struct, frozen=True):
    """The stores of one process, and the actions on bookings and events that use them."""

    database: Database
    pipeline: Pipeline
    scripts: Scripts
    queue: ArqRedis
    accounts: Accounts
    sessions: Sessions
    admission: Admission
    events: EventReads
    catalog: Catalog
    past_events: PastEvents
    inventory: Inventory
    holds: Holds
    unpersisted: UnpersistedSets
    ledger: Ledger
    epochs: Epochs
    refusal_counts: RefusalCounts
    intents: Intents
    books: Books
    clocks: Clocks
    availability: Availability
    box_office: BoxOffice
    event_actions: EventActions
    selling: SellingActions
    money: MoneyStores
    payment_actions: PaymentActions
    durability: str
    redis_sync: str
    retention: Retention


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Open the stores, and close them at the end of the block.

    Opening contacts no server; each store connects at its first call.
    """
    arm(settings.failpoints, hits=settings.failpoint_hits)
    database = Database(_url(settings.database_url))
    pipeline = Pipeline(_url(settings.redis_url))
    queue = open_queue(_url(settings.queue_url))
    doorbell = Doorbell(queue, on_lost=lambda: log.warning("doorbell_lost"))
    refusal_counts = RefusalCounts(pipeline)
    money = MoneyStores(Payments(database), Refunds(database), BegunPayments(database), configured_providers(settings))
    try:
        yield _stores(settings, database, pipeline, queue, doorbell, refusal_counts, money)
    finally:
        await money.disconnect()
        await doorbell.close()
        await refusal_counts.close()
        await pipeline.close()
        await database.close()


def _stores(  # noqa: PLR0913, PLR0917  (what is opened, called in one place)
    settings: Settings,
    database: Database,
    pipeline: Pipeline,
    queue: ArqRedis,
    doorbell: Doorbell,
    refusal_counts: RefusalCounts,
    money: MoneyStores,
) -> Stores:
    intents, events, epochs, sessions = Intents(database), EventReads(database), Epochs(database), Sessions(database)
    written_ahead = intents if settings.durability == "postgres" else None
    ledger, scripts = Ledger(database, keeps_intents=written_ahead is not None), Scripts(pipeline, epochs)
    admission, holds, unpersisted = Admission(scripts, pipeline, sessions), Holds(scripts), UnpersistedSets(scripts)
    inventory = Inventory(scripts, admission, unpersisted_max=settings.unpersisted_max)
    catalog, selling, promo_codes = _event_stores(database, inventory, holds, unpersisted, scripts)
    box_office = BoxOffice(
        terms=(terms := TermsCache(events, catalog, inventory)),
        admission=admission,
        inventory=inventory,
        holds=holds,
        unpersisted=unpersisted,
        ledger=ledger,
        doorbell=doorbell,
        intents=written_ahead,
        refusal_counts=refusal_counts,
        test_hold_ms=settings.test_hold_ms,
    )
    return Stores(
        database=database,
        pipeline=pipeline,
        scripts=scripts,
        queue=queue,
        accounts=Accounts(database),
        sessions=sessions,
        admission=admission,
        events=events,
        catalog=catalog,
        past_events=PastEvents(database, inventory, unpersisted, scripts),
        inventory=inventory,
        holds=holds,
        unpersisted=unpersisted,
        ledger=ledger,
        epochs=epochs,
        refusal_counts=refusal_counts,
        intents=intents,
        books=Books(database, scripts),
        clocks=Clocks(inventory, database),
        availability=Availability(terms=terms, inventory=inventory, ledger=ledger),
        box_office=box_office,
        event_actions=EventActions(
            events=events, catalog=catalog, inventory=inventory, ledger=ledger, doorbell=doorbell, terms=terms
        ),
        selling=SellingActions(selling, promo_codes, events=events, inventory=inventory, terms=terms),
        money=money,
        payment_actions=PaymentActions(money, box_office, events, inventory, ledger, scripts),
        durability=settings.durability,
        redis_sync=settings.redis_sync,
        retention=Retention.of(settings),
    )


def _event_stores(
    database: Database, inventory: Inventory, holds: Holds, unpersisted: UnpersistedSets, scripts: Scripts
) -> tuple[Catalog, Selling, PromoCodes]:
    """The stores that write events and what they sell."""
    writes = EventWrites(database, inventory, scripts)
    catalog = Catalog(database, inventory, unpersisted, scripts, writes)
    return catalog, Selling(database, writes, inventory, holds, unpersisted), PromoCodes(database, writes)


def _url(url: SecretStr | None) -> str:
    if url is None:
        message = "the embedded stack hands its processes DATABASE_URL, REDIS_URL and QUEUE_URL"
        raise ValueError(message)
    return url.get_secret_value()
