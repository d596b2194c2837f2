"""The only machine that may be put under load: this one."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8000"


class TargetRefused(Exception):
    """A load was requested for another machine."""


def loopback_url(url: str) -> str:
    """`url` without a trailing slash, if it is an address of this machine.

    Every name but `localhost` is refused, because it may resolve to another machine when the load starts.

    Raises:
        TargetRefused: it is not an address of this machine.
    """
    host = urlsplit(url).hostname or ""
    if urlsplit(url).scheme in {"http", "https"} and (host == "localhost" or _is_loopback(host)):
        return url.rstrip("/")
    message = f"{url} is not an http address of this machine, such as {DEFAULT_URL}: load goes to no other"
    raise TargetRefused(message)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
