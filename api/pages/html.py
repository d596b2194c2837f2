"""HTML pages of this package. Their content security policy allows their own scripts, by hash."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from importlib.resources import files

from api.http.problems import PARAGRAPHS, statuses_by_code
from api.pages.static import CHECKED, Static

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


@cache
def page(name: str) -> Static:
    """A page of this package by its name."""
    return _page(files("api.pages").joinpath(f"{name}.html").read_text(encoding="utf-8"))


@cache
def problems_page() -> Static:
    """The page that explains all problem codes, made from the same tables as the answers."""
    text = files("api.pages").joinpath("problems.html").read_text(encoding="utf-8")
    return _page(text.replace("{{problems}}", "\n".join(_paragraph(code) for code in sorted(PARAGRAPHS))))


def _page(text: str) -> Static:
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in _SCRIPT.findall(text))
    policy = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return Static.of(text.encode(), "text/html", kept=CHECKED, policy=policy)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _paragraph(code: str) -> str:
    status = statuses_by_code()[code]
    text = _CODE.sub(r"<code>\1</code>", html.escape(PARAGRAPHS[code]))
    return f'<section id="{code}"><h2><code>{code}</code> <small>{status}</small></h2><p>{text}</p></section>'
