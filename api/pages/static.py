"""Content that changes only with a new version: pages, the OpenAPI document, scripts and styles.

Each is made once per process, with a validator and, where that is smaller, a compressed form.
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
"""An hour after a new version, nobody has the old one any more."""

CHECKED = "no-cache"
"""For pages: a browser asks each time, and is told that it has the page already."""


class Coded(Struct, frozen=True):
    """Content in one coding, and its validator: the tag of another coding is another one (RFC 9110, 8.8.3)."""

    content: bytes
    etag: str


class Static(Struct, frozen=True, kw_only=True):
    """Content as it is served. `gzipped` is None where compression makes it no smaller."""

    plain: Coded
    gzipped: Coded | None
    media_type: str
    headers: dict[str, str]

    @classmethod
    def of(cls, content: bytes, media_type: str, *, kept: str, policy: str | None = None) -> Static:
        """Make the compressed form and the validators. `policy` is the content security policy, if not the usual."""
        digest, compressed = hashlib.sha256(content).hexdigest()[:ETAG_CHARS], gzip.compress(content, mtime=0)
        headers = {"Cache-Control": kept} | ({"Content-Security-Policy": policy} if policy else {})
        return cls(
            plain=Coded(content, f'"{digest}"'),
            gzipped=Coded(compressed, f'"{digest}-gzip"') if len(compressed) < len(content) else None,
            media_type=media_type,
            headers=headers,
        )

    def response(self, scope: Scope) -> Response[bytes]:
        """The content in the coding that the caller accepts, or 304 for a caller that has it."""
        say_varies(scope, b"Accept-Encoding")
        coded, headers = self.plain, self.headers
        if self.gzipped and accepts_gzip(scope):
            coded, headers = self.gzipped, headers | {"Content-Encoding": "gzip"}
        headers = headers | {"ETag": coded.etag}
        if matches(scope, coded.etag):
            return Response(b"", status_code=304, headers=headers, media_type=self.media_type)
        return Response(coded.content, headers=headers, media_type=self.media_type)
