"""The header of every Lua script agrees with the script and with its Python method."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from domain.background.closing import close_past_events_once
from domain.background.persisting import expire
from domain.background.rebuilding import in_order, rebuild
from domain.background.reconciling import reconcile
from domain.kernel.bookings import HOLDING, BookingStatus, may_become
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import IdempotencyKeyReused
from domain.platform.settings import Limit
from domain.sales.events import EventChanges
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask, Rule
from domain.store.redis.fence import ANCHOR, FENCED_SCRIPTS, JOINED_SCRIPTS, REBUILD_SCRIPTS, FencingToken, sha1, source
from domain.store.redis.keys import counters_key, mine_key, unpersisted_key
from tests.books import retire
from tests.factories import (
    ORGANIZED,
    book,
    hold,
    make_account,
    make_due,
    make_event,
    open_session,
    pass_by,
    reduce,
    tomorrow,
)
from tests.processes import ROOT
from tests.waiting import eventually, persist_all

STORE = ROOT / "domain" / "store" / "redis"
LUA = STORE / "lua"
SCRIPTS = sorted((*FENCED_SCRIPTS, *REBUILD_SCRIPTS, ANCHOR))
TOKEN = FencingToken(deployment="00000000-0000-0000-0000-000000000000", epoch=1, server="0" * 40)

KEY_SHAPES = {
    "epoch": r"\{p\d+\}:epoch",
    "counters": r"\{p\d+\}:counters:.+",
    "record": r"\{p\d+\}:booking:.+",
    "unpersisted": r"\{p\d+\}:unpersisted",
    "doorbell": r"\{p\d+\}:doorbell",
    "mine": r"\{p\d+\}:mine:.+",
    "lease": r"\{p\d+\}:lease",
    "due": r"\{p\d+\}:due:.+",
    "dues": r"\{p\d+\}:dues",
}
"""What a key is called in the headers, and what it looks like."""

VERBS = {
    *("admit", "begin", "check", "confirm", "expire", "extend", "install", "mend", "read", "reduce", "refill"),
    *("release", "relist"),
    *("remove", "reopen", "reserve", "restore", "settle", "store", "take", "withdraw"),
}
"""The verbs of the scripts' names: `verb_object`."""

LINES_MAX = 60

UNASKED = {"restore_booking", "store_account"}
"""Scripts whose answer changes nothing: whoever called looks again."""


@dataclass
class Header:
    """What a script's first lines say. `more` are the names that come again and again."""

    promise: str
    keys: list[str]
    more_keys: list[str]
    args: list[str]
    more_args: list[str]
    words: set[str]

    @classmethod
    def of(cls, name: str) -> Header:
        lines = []
        for line in (LUA / f"{name}.lua").read_text().splitlines()[1:]:
            if not line.startswith("--"):
                break
            lines.append(line[2:].strip())
        text = " ".join(lines)
        promise, keys, args, answers = re.fullmatch(r"(.+) KEYS (.+) ARGV (.+) RETURN (.+)", text).groups()
        return cls(promise.strip(), *_names(keys), *_names(args), set(re.findall(r"\{'(\w+)'", answers)))


def _names(text: str) -> tuple[list[str], list[str]]:
    """Names that come once, and names that come again and again: after `then`, or with `…`, or `of each`."""
    plain = re.sub(r"\([^()]*\)", "", text).strip()
    if plain == "none":
        return [], []
    once, _, again = plain.partition("then ")
    if not again and ("…" in once or "of each" in once):
        once, again = "", once
    again = re.sub(r"of each \w+: ", "", again)
    again = re.sub(r" of (each|a|the) .*", "", again.replace("…", "")).replace(" and ", ", ")
    return _split(once), _split(again)


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@pytest.fixture(params=SCRIPTS)
def name(request):
    return request.param


def test_every_script_in_the_folder_is_named():
    assert {path.stem for path in LUA.glob("*.lua")} == set(SCRIPTS)


def test_a_script_is_named_by_what_it_does_to_what(name):
    verb, _, thing = name.partition("_")

    assert verb in VERBS
    assert thing


TAKES_MEMORY = {"reserve_tickets", "reopen_counters"}
"""What is refused whole when Redis' memory is full. The others free memory, or what frees it cannot go on without them:
whoever cancels has to be admitted, and a ban has to be heard of."""


@pytest.mark.parametrize("name", [*SCRIPTS, *JOINED_SCRIPTS.values()])
def test_only_what_takes_memory_is_refused_when_memory_is_full(name):
    flags = source(name, TOKEN).splitlines()[0]

    assert flags.startswith("#!lua")
    assert bool(re.search("allow-oom|no-writes", flags)) != bool(TAKES_MEMORY & set(name.split("+")))


def test_a_script_promises_something_in_a_sentence(name):
    assert re.match(r"[A-Z].{15,}\.", Header.of(name).promise)


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_the_code_of_a_script_can_be_read_at_a_glance(path):
    assert len([line for line in path.read_text().splitlines() if line and not line.startswith("--")]) <= LINES_MAX


def test_a_script_answers_the_words_of_its_header(name):
    body = source(name, TOKEN)
    code = "\n".join(line for line in body.splitlines() if not line.startswith("--"))
    returned = set(re.findall(r"return \{'(\w+)'", code))
    named = {word for variable, word in re.findall(r"local (\w+) = \{'(\w+)'", code) if f"return {variable} " in code}

    assert returned | named == Header.of(name).words


def test_a_script_takes_the_keys_of_its_header(name):
    header, code = Header.of(name), _code(name)
    highest = max((int(index) for index in re.findall(r"KEYS\[(\d+)\]", code)), default=0)

    assert highest == len(header.keys)
    if header.more_keys and header.keys:
        assert _constant("FIRST_KEY", code) == len(header.keys) + 1


def test_a_script_takes_the_arguments_of_its_header(name):
    header, code = Header.of(name), _code(name)
    highest = max((int(index) for index in re.findall(r"ARGV\[(\d+)\]", code)), default=0)
    firsts = [value for constant, value in _constants(code).items() if constant != "FIRST_KEY"]

    assert highest <= len(header.args)
    if header.more_args and header.args:
        assert firsts == [len(header.args) + 1]


def test_a_booking_loses_its_claims_from_every_state_in_which_it_holds_them():
    """What loses its claims by a change is an argument, from the table of transitions."""
    assert set(may_become(BookingStatus.CANCELLED).split()) == HOLDING
    assert set(may_become(BookingStatus.REJECTED).split()) == HOLDING - {BookingStatus.CONFIRMED}


def test_a_script_writes_only_after_it_decided(name):
    """What is refused was not half done: after the first write there is no refusal.

    That a deadline has passed is kept also by who is refused for it, and holds expire for who is short: that is no part
    of what was asked for.
    """
    own = (LUA / f"{name}.lua").read_text()
    code = re.sub(r"then redis\.call\('HSET', KEYS\[2\], 'clock', now_ms\) end", "then end", own)
    writes = [found.start() for found in re.finditer(r"redis\.call\('(HINCRBY|HSET|HSETNX|SADD|ZADD|DEL|SET)'", code)]
    refusals = [found.start() for found in re.finditer(r"return \{'(short|closed|late|stale|lagging|fenced)'", code)]

    assert not writes or not refusals or max(refusals) < min(writes)


def test_a_script_has_a_method_that_names_it(name):
    if name in REBUILD_SCRIPTS:
        return

    assert f"({name}.lua)" in _python()


@pytest.mark.parametrize("name", sorted(set(FENCED_SCRIPTS) - UNASKED))
def test_python_knows_the_words_a_script_answers(name):
    """All but one: what is left is the answer nobody has to ask for."""
    known = set(re.findall(r'b"(\w+)"', _python()))

    assert len(Header.of(name).words - known - {"fenced"}) <= 1


async def test_python_calls_every_script_as_its_header_says(stores):
    async with monitored(stores) as calls:
        await call_every_script(stores)

    assert set(calls) == set(SCRIPTS)
    for name, seen in calls.items():
        header = Header.of(name)
        for keys, args in seen:
            _fits(f"KEYS of {name}", keys, header.keys, header.more_keys)
            _fits(f"ARGV of {name}", args, header.args, header.more_args)
            for key, called in zip(keys, header.keys, strict=False):
                assert re.fullmatch(KEY_SHAPES.get(called, ".+"), key), (name, called, key)


def _fits(what, given, names, more):
    beyond = len(given) - len(names)
    optional = len(names) - len(given) == 1 and names[-1] == "key"
    assert beyond == 0 or optional or (more and beyond > 0 and beyond % len(more) == 0), (what, given, names, more)


def _code(name):
    return "\n".join(line for line in source(name, TOKEN).splitlines() if not line.startswith("--"))


def _constants(code):
    found = {}
    for left, right in re.findall(r"^local ([A-Z_, ]+) = ([\d, ]+)$", code, re.MULTILINE):
        found.update(zip(_split(left), map(int, _split(right)), strict=True))
    return {name: value for name, value in found.items() if name.startswith("FIRST_")}


def _constant(name, code):
    return _constants(code)[name]


def _python():
    return "\n".join(path.read_text() for path in [*STORE.glob("*.py"), STORE.parent / "books.py"])


@asynccontextmanager
async def monitored(stores):
    """What Redis is told to run during the block: of each script, the keys and arguments of each call."""
    calls = defaultdict(list)
    async with stores.pipeline.redis.monitor() as monitor:
        tokens = [stores.scripts.token]
        yield calls
        tokens.append(stores.scripts.token)
        await stores.pipeline.redis.echo("the end")
        while (words := _words(await monitor.connection.read_response()))[0] != "ECHO":
            if words[0] in {"EVALSHA", "EVAL"}:
                keys_end = 3 + int(words[2])
                name = _script(words[1], tokens)
                for each, keys, args in _apart(name, words[3:keys_end], words[keys_end:]):
                    calls[each].append((keys, args))


def _apart(name, keys, args):
    """The scripts that are called, each with its own keys and arguments: two, when they are joined."""
    first, _, second = name.partition("+")
    if not second:
        return [(name, keys, args)]
    keys_end, args_end = int(args[0]), 2 + int(args[1])
    return [(first, keys[:keys_end], args[2:args_end]), (second, keys[keys_end:], args[args_end:])]


def _words(line):
    """The words of a line such as `1795420800.123456 [0 unix:/run/valkey.sock] "GET" "key"`."""
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', line.decode())
    return [word.encode("latin-1").decode("unicode_escape") for word in quoted]


def _script(called, tokens):
    """The script that is called by this SHA-1, or by this text."""
    (name,) = {
        name
        for name in (*SCRIPTS, *JOINED_SCRIPTS.values())
        for token in tokens
        if called in (sha1(name, token), source(name, token))
    }
    return name


async def call_every_script(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, key="order-7")
    await book(stores, event, user_id=buyer, quantity=2, key="order-8")
    await persist_all(stores)
    await retire(stores, booking)
    await stores.box_office.cancel(booking)
    await stores.unpersisted.pulse(0)
    await stores.unpersisted.take_lease(0, holder="somebody", lease_ms=300)
    await stores.pipeline.redis.hincrby(counters_key(event.id), "pool:main", 5)
    partition = booking.id.bytes[15]
    await stores.pipeline.redis.zrem(unpersisted_key(partition), str(booking.id))
    await stores.pipeline.redis.srem(mine_key(partition, buyer), str(booking.id))
    await eventually(lambda: reconcile(stores), is_so=lambda outcomes: not outcomes)
    await ask_for_admission(stores, buyer)
    await hold_and_expire(stores, await make_event(stores))
    await close_and_open_again(stores, event)
    await rebuild(stores)
    await in_order(stores)


async def hold_and_expire(stores, event):
    confirmed, extended, expired = [await hold(stores, event, quantity=2) for _ in range(3)]
    await stores.box_office.confirm(confirmed.id)
    await stores.box_office.extend(extended.id, hold_ms=120_000, cap_ms=200_000)
    await reduce(stores, extended, 1)
    await make_due(stores, expired)
    await expire(stores, partition_of_event(event.id))
    await persist_all(stores)


async def close_and_open_again(stores, event):
    await persist_all(stores)
    await pass_by(stores, event)
    assert (await close_past_events_once(stores)).closed == 1
    await stores.event_actions.change(
        event.id, EventChanges(starts_at=tomorrow()), caller=ORGANIZED, expected_version=None
    )


async def ask_for_admission(stores, account_id):
    rule = Rule.of("bookings", Limit.parse("100/min"), fails_open=False)
    token = await open_session(stores, account_id=account_id)
    await stores.admission.admit(Ask.by(token, rule))
    event = await make_event(stores)
    reserved = await stores.box_office.reserve(Ask.by(token, rule), TicketOrder(event.id, 1, "order-7"))
    await stores.box_office.look(Ask.by(token, rule), reserved.booking.id)
    with pytest.raises(IdempotencyKeyReused):
        await stores.box_office.reserve(Ask.by(token, rule), TicketOrder(event.id, 2, "order-7"))
    await stores.admission.admit_address("192.0.2.7", rule)
