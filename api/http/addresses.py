"""The address of a caller, by which anonymous requests are counted."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from api.http.headers import fields

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network

    from litestar.types import Scope

    from domain.platform.settings import Settings

IPV6_PREFIX = 64
"""A customer of a provider has at least a network of this size (RFC 6177), so it counts as one address."""

HOPS_MAX = 20
"""Entries of `X-Forwarded-For` that are read. A longer list was made up."""

UNKNOWN = "unknown"
"""A client without an address, e.g. on a Unix socket."""


class Proxies:
    """The proxies whose `X-Forwarded-For` is trusted."""

    def __init__(self, networks: list[IPv4Network | IPv6Network]) -> None:
        self._networks = networks

    @classmethod
    def of(cls, settings: Settings) -> Proxies:
        """The proxies that the settings name; none by default."""
        return cls(list(settings.trusted_proxies))

    def client_of(self, scope: Scope) -> str:
        """The caller's address, or the network that counts as one.

        `X-Forwarded-For` is read only if it comes from a trusted proxy. Its right-most hop that is not a trusted proxy
        counts, because the caller may have written anything to the left of that.
        """
        client = scope.get("client")
        address = _parsed(client[0]) if client else None
        if address is None:
            return UNKNOWN
        for hop in reversed(_forwarded(scope)):
            if not self._trusts(address):
                break
            before = _parsed(hop)
            if before is None:
                break
            address = before
        return _counted(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _forwarded(scope: Scope) -> list[str]:
    values = fields(scope, b"x-forwarded-for")
    return ",".join(values).split(",")[-HOPS_MAX:] if values else []


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _counted(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_PREFIX), strict=False).network_address) + "/64"
    return str(address)
