"""Python and PostgreSQL fold every search text alike."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from sqlalchemy import text

from domain.sales.search_text import fold

EXPRESSION = """
    SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    WHERE adrelid = 'events'::regclass AND attname = :column
"""

SURROGATES = range(0xD800, 0xE000)


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Tempodrom Café", "tempodrom cafe"),
        ("Tempodrom Cafe\u0301", "tempodrom cafe"),
        ("Köln", "koln"),
        ("Große STRA\u1e9eE", "grosse strasse"),
        ("İSTANBUL \u0131", "istanbul i"),
        ("ﬁ Ａ ①", "fi a 1"),  # noqa: RUF001  (compatibility forms are the matter)
        ("Łódź Ðæ", "lodz \u00f0æ"),
        ("हिन्दी が", "हिन्दी \u304b\u3099"),
        ("100%_/\\", "100%_/\\"),
        ("", ""),
    ],
)
def test_a_text_is_folded(written, folded):
    assert fold(written) == folded
    assert fold(fold(written)) == folded


@pytest.mark.parametrize("column", ["title", "location"])
async def test_every_character_is_folded_alike_by_python_and_postgresql(stores, column):
    known = [
        code
        for code in range(1, sys.maxunicode + 1)
        if code not in SURROGATES and unicodedata.category(chr(code)) not in {"Cn", "Co"}
    ]
    async with stores.database.connect() as connection:
        expression = (await connection.execute(text(EXPRESSION), {"column": f"{column}_folded"})).scalar_one()
        statement = (
            f"SELECT code, {expression} FROM (SELECT code, 'A' || chr(code) AS {column} FROM unnest($1::int[]) code) c"
        )
        raw = (await connection.get_raw_connection()).driver_connection
        rows = await raw.fetch(statement, known)

    differing = {hex(code): folded for code, folded in rows if folded != fold("A" + chr(code))}

    assert (len(rows), differing) == (len(known), {})
