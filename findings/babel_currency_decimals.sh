#!/bin/sh
# Babel changes the number of decimals of four currencies in a minor release, and differs from the standard in fifteen.
#
# Versions: babel 2.18.0 and 2.19.0; iso4217 1.16.20260101, which contains list one of ISO 4217, of 1 January 2026.
# Valid input: get_currency_precision(code) for each active currency.
# Expectation: the number of decimals of a currency, as ISO 4217 has it, which has not changed for any of the four. Code
#   that converts an amount to minor units with this function gives the same integer after an upgrade.
# Behaviour: COP, HUF and IDR have 2 decimals in 2.18.0 and none in 2.19.0, RSD none in 2.18.0 and 2 in 2.19.0. The
#   numbers are those of CLDR, which has what is customary in print. An amount in minor units is then wrong by a factor
#   of 100, and format_currency rounds 12.50 HUF to 12.
# Output seen on 28 November 2026:
#   2.18.0: COP 2, HUF 2, IDR 2, RSD 0; 12.50 HUF is printed as HUF12.50; 13 differ from the standard
#   2.19.0: COP 0, HUF 0, IDR 0, RSD 2; 12.50 HUF is printed as HUF12; 15 differ from the standard
# Exits non-zero when the behaviour changes. Needs Python 3.11 or newer and pip.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"

cat >decimals.py <<'PYTHON'
import sys
from importlib.metadata import version

from babel.numbers import format_currency, get_currency_precision
from iso4217 import Currency

MOVED = ("COP", "HUF", "IDR", "RSD")
SEEN = {"2.18.0": ([2, 2, 2, 0], 13), "2.19.0": ([0, 0, 0, 2], 15)}

# Metals and other codes without a minor unit have no exponent.
standard = {each.code: each.exponent for each in Currency if each.exponent is not None}
differing = [code for code, decimals in standard.items() if get_currency_precision(code) != decimals]
moved = [get_currency_precision(code) for code in MOVED]
printed = format_currency("12.50", "HUF", locale="en")
numbers = ", ".join(f"{code} {decimals}" for code, decimals in zip(MOVED, moved))
release = version("babel")
print(f"{release}: {numbers}; 12.50 HUF is printed as {printed}; {len(differing)} differ from the standard")
sys.exit(0 if (moved, len(differing)) == SEEN[release] and all(standard[code] == 2 for code in MOVED) else 1)
PYTHON

for release in 2.18.0 2.19.0; do
    python3 -m venv "babel-$release"
    "babel-$release/bin/python" -m pip install --quiet --disable-pip-version-check \
        "babel==$release" 'iso4217==1.16.20260101'
    "babel-$release/bin/python" decimals.py
done
