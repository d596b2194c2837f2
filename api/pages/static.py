"""Content that changes only with a new version: pages, the OpenAPI document, scripts and styles.

Each is made once per process, with a validator and, if that is smaller, a compressed form.
"""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

from litestar import Response
from msgspec import Struct

from api.http.conditional import accepts_gzip, matches, say_varies

if TYPE_CHECKING:
    from litestar.types import Scope

ETAG_CHARS = 32

KEPT = "public, max-age=3600"
"""Caches drop an old version one hour after a new one is installed."""

CHECKED = "no-cache"
"""For pages: a browser revalidates each time, and gets 304 while the page is the same."""


class Coded(Struct, frozen=True):
    """Content in one content coding, and its validator; each coding has its own entity tag (RFC 9110, 8.8.3)."""

    content: bytes
    etag: str


class Static(Struct, frozen=True, kw_only=True):
    """Content with its headers. `gzipped` is None if compression does not make it smaller."""

    plain: Coded
    gzipped: Coded | None
    media_type: str
    headers: dict[str, str]

    @classmethod
    def of(cls, content: bytes, media_type: str, *, kept: str, policy: str | None = None) -> Static:
        """Make the compressed form and the validators. `policy` is a content security policy other than the default."""
        digest, compressed = hashlib.sha256(content).hexdigest()[:ETAG_CHARS], gzip.compress(content, mtime=0)
        headers = {"Cache-Control": kept} | ({"Content-Security-Policy": policy} if policy else {})
        return cls(
            plain=Coded(content, f'"{digest}"'),
            gzipped=Coded(compressed, f'"{digest}-gzip"') if len(compressed) < len(content) else None,
            media_type=media_type,
            headers=headers,
        )

    def response(self, scope: Scope) -> Response[bytes]:
        """The content in a coding that the caller accepts, or 304 if the caller has it already."""
        say_varies(scope, b"Accept-Encoding")
        coded, headers = self.plain, self.headers
        if self.gzipped and accepts_gzip(scope):
            coded, headers = self.gzipped, headers | {"Content-Encoding": "gzip"}
        headers = headers | {"ETag": coded.etag}
        if matches(scope, coded.etag):
            return Response(b"", status_code=304, headers=headers, media_type=self.media_type)
        return Response(coded.content, headers=headers, media_type=self.media_type)
