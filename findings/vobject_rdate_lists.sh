#!/bin/sh
# vobject reads an event an hour wrong in every summer if its time zone lists the changes of clocks, as icalendar does.
#
# Versions: icalendar 7.3.2 writes the calendar, vobject 0.9.9 (with python-dateutil 2.9.0.post0) reads it.
# Valid input: an event at 20:00 in Europe/Berlin on 1 July 2027. icalendar adds a VTIMEZONE in which the days on which
#   clocks change are one RDATE property with a list of values, as RFC 5545 allows (3.6.5 and 3.8.5.2).
# Expectation: vobject reads 20:00 at +02:00. icalendar itself and dateutil do, from the same text.
# Behaviour: it reads 20:00 at +01:00, without an error or a warning. When vobject hands a VTIMEZONE to dateutil, it keeps
#   only the first value of each list, so the zone has no change of clocks after 1981 (icalendar's lists begin there).
#   With a rule (RRULE) instead of lists, vobject is right.
# Output seen on 28 November 2026:
#   lists: icalendar +02:00, dateutil +02:00, vobject +01:00
#   rules: vobject +02:00
# Exits non-zero when the behaviour changes. Needs Python 3.11 or newer and pip.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    'icalendar==7.3.2' 'vobject==0.9.9' 'python-dateutil==2.9.0.post0' 'tzdata==2026.6'

cat >summer.py <<'PYTHON'
import io
import re
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import icalendar
import vobject
from dateutil.tz import tzical

START = datetime(2027, 7, 1, 20)
ZONE = "Europe/Berlin"


def written(offset):
    return f"{offset.total_seconds() / 3600:+03.0f}:00"


def read_by_vobject(text):
    return written(vobject.readOne(text).vevent.dtstart.value.utcoffset())


event = icalendar.Event()
event.add("uid", "1")
event.add("dtstamp", datetime(2026, 11, 28, 12, tzinfo=UTC))
event.add("dtstart", START.replace(tzinfo=ZoneInfo(ZONE)))
calendar = icalendar.Calendar()
calendar.add("version", "2.0")
calendar.add("prodid", "-//example//EN")
calendar.add_component(event)
calendar.add_missing_timezones()
lists = calendar.to_ical().decode()

by_icalendar = written(icalendar.Calendar.from_ical(lists).walk("VEVENT")[0].decoded("dtstart").utcoffset())
by_dateutil = written(START.replace(tzinfo=tzical(io.StringIO(lists)).get(ZONE)).utcoffset())
by_vobject = read_by_vobject(lists)
print(f"lists: icalendar {by_icalendar}, dateutil {by_dateutil}, vobject {by_vobject}")

# The same calendar with rules. Another name, because vobject remembers each zone by its name.
unfolded = lists.replace("\r\n ", "").replace(ZONE, "Rules")
for begin, month in (("DAYLIGHT", 3), ("STANDARD", 10)):
    rule = f"RRULE:FREQ=YEARLY;BYMONTH={month};BYDAY=-1SU\r\n"
    unfolded = re.sub(rf"(BEGIN:{begin}\r\nDTSTART:\S+\r\n)RDATE:\S+\r\n", rf"\g<1>{rule}", unfolded)
by_rules = read_by_vobject(unfolded)
print(f"rules: vobject {by_rules}")
sys.exit(0 if (by_icalendar, by_dateutil, by_vobject, by_rules) == ("+02:00", "+02:00", "+01:00", "+02:00") else 1)
PYTHON
venv/bin/python summer.py
