"""The licences of locked packages, by the metadata of the packages."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from importlib.metadata import PackageMetadata

ROOT = Path(__file__).parent.parent.parent

RUNTIME_LOCK = ROOT / "requirements-embedded.txt"
DEV_LOCK = ROOT / "requirements-dev.txt"

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        # Of certifi: a list of certificates, redistributed unchanged.
        "MPL-2.0",
        "PSF-2.0",
        "Unlicense",
        "ZPL-2.1",
    }
)
"""SPDX names of licences that allow everybody to use, change and sell software with the package."""

USED_BESIDE = {"libfaketime": "GNU General Public License v2 (GPLv2)", "localstripe": "GPL-3.0-or-later"}
"""Other licences of packages for development, by package: programs that tests run and that are not shipped.

libfaketime sets the clocks of servers that tests and the chaos runner start. localstripe is a server that tests start.
"""

STATED_IN_FILES = {"axe-playwright-python": "MIT AND MPL-2.0"}
"""Licences by package, as the files of the package state them and its metadata does not."""

UNKNOWN = "unknown"

NOT_INSTALLED = "not for this machine"
"""A locked package for other systems or Pythons."""

_LOCKED = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,._-]*\])?==([^ \\;]+)", re.MULTILINE)
_OPERATORS = re.compile(r"\s+(?:AND|OR)\s+|[()]")

_SPDX_OF_WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "zope public license": "ZPL-2.1",
}
"""Licence texts from before SPDX expressions (PEP 639), in lower case."""


class Licence(Struct, frozen=True):
    """A locked package and the SPDX expression of its licence, or the reason why it has none."""

    name: str
    version: str
    expression: str

    @property
    def allowed(self) -> bool:
        """Whether every licence is allowed, or the package is not installed or only used for development."""
        parts = {part.strip() for part in _OPERATORS.split(self.expression) if part.strip()}
        beside = USED_BESIDE.get(self.name) == self.expression
        return self.expression == NOT_INSTALLED or beside or parts <= ALLOWED


def licences(lock: Path) -> list[Licence]:
    """The licence of each package of a lock, in its order."""
    return [
        Licence(name, version, _expression_of(name))
        for name, version in _LOCKED.findall(lock.read_text(encoding="utf-8"))
    ]


def installed_licences() -> list[Licence]:
    """The licence of each installed package except this one, for an image without locks."""
    found = {each.name.lower(): each.version for each in distributions()}
    return [Licence(name, found[name], _expression_of(name)) for name in sorted(found.keys() - {"onsale"})]


def table(found: list[Licence]) -> str:
    """Licences as lines; those that are not allowed are marked."""
    width = max(len(each.name) for each in found)
    return "\n".join(
        f"{each.name:<{width}}  {each.version:<12}  {each.expression}{'' if each.allowed else '  <- not allowed'}"
        for each in found
    )


def _expression_of(name: str) -> str:
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return NOT_INSTALLED
    stated = _first(metadata, "License-Expression") or STATED_IN_FILES.get(name)
    return stated or _declared_otherwise(metadata)


def _declared_otherwise(metadata: PackageMetadata) -> str:
    """The expression by the classifiers, or else by the old free text."""
    classifiers = [each for each in metadata.get_all("Classifier") or [] if each.startswith("License :: ")]
    words = [each.rpartition(" :: ")[2] for each in classifiers]
    text = _first(metadata, "License").strip().partition("\n")[0].strip()
    # The text is often more exact than the classifier: BSD-3-Clause instead of BSD.
    exact = text if _names_allowed(text) else ""
    named = [exact] if exact else [_SPDX_OF_WORDS.get(word.lower(), word) for word in words or [text] if word]
    return " OR ".join(named) or UNKNOWN


def _first(metadata: PackageMetadata, field: str) -> str:
    return str((metadata.get_all(field) or [""])[0])


def _names_allowed(text: str) -> bool:
    return bool(text) and {part.strip() for part in _OPERATORS.split(text) if part.strip()} <= ALLOWED
