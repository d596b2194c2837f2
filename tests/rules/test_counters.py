"""Only the code that computes claims knows what a counter counts; all other code takes every counter alike."""

from __future__ import annotations

import re

from tests.processes import ROOT

KINDS = re.compile(r"""\b(?:pool|user|account|promo|holds|seat):(?=[\w{@<"'])|\bPOOL_MAIN\b|\buser_counter\b""")

COMPUTE_CLAIMS = {
    *("domain/kernel/counters.py", "domain/sales/events.py", "domain/sales/orders.py"),
    *("domain/sales/reductions.py", "domain/sales/comps.py"),
}

SAY_HOW_CLAIMS_LOOK = {"domain/kernel/claims.py"}
"""An example in a docstring, and the rule by which a name says where a counter is stored."""

NO_COUNTERS = re.compile(r":account:|\"account:|mine:|//\S+")


def test_no_code_after_the_claims_names_a_kind_of_counter():
    sources = [*(ROOT / "domain").rglob("*.py"), *(ROOT / "domain").rglob("*.lua"), *(ROOT / "worker").rglob("*.py")]
    named = {
        str(source.relative_to(ROOT)): KINDS.findall(NO_COUNTERS.sub("", source.read_text())) for source in sources
    }

    assert {path for path, kinds in named.items() if kinds} - COMPUTE_CLAIMS - SAY_HOW_CLAIMS_LOOK == set()


def test_the_code_that_computes_claims_is_where_the_rule_looks():
    assert all(KINDS.search((ROOT / path).read_text()) for path in COMPUTE_CLAIMS)
