"""The answers to bad input: status and code. Each is a problem; no input makes a 5xx."""

from __future__ import annotations

MALFORMED = (400, "malformed_body")
INVALID = (422, "invalid_request")
TOO_LARGE = (413, "body_too_large")
OTHER_TYPE = (415, "unsupported_media_type")
NOT_FOUND = (404, "not_found")
NO_EVENT = (404, "event_not_found")
NO_METHOD = (405, "method_not_allowed")
NOBODY = (401, "unauthenticated")
NO_HTTP = (400, "bad_request")

NOBODYS_ID = "0b0b0b0b-0000-4000-8000-000000000002"
"""An id that no event and no booking has."""
