"""Polls the readiness of the API from a thread, so that nothing else waits for the answer."""

from __future__ import annotations

import http.client
import threading
import time
from ipaddress import IPv4Address, ip_address

POLL_SECONDS = 0.1
"""Between two requests; limits the precision of the time to readiness."""

ANSWER_TIMEOUT_SECONDS = 5.0
"""Readiness checks PostgreSQL, Redis and the workers, each with a shorter deadline."""

TOLD_CHARACTERS_MAX = 300
"""Characters of an answer that are kept for progress lines."""


class ReadinessPoller(threading.Thread):
    """Polls `http://host:port<path>` until it answers 200."""

    def __init__(self, host: str, port: int, path: str) -> None:
        """Describe the URL; `start()` begins to poll."""
        super().__init__(name="readiness", daemon=True)
        self._address = (host, port)
        self._path = path
        self.ready = threading.Event()
        self.last_answer = "no answer yet"

    def run(self) -> None:
        """Poll until the answer is 200; the thread ends with the process at the latest."""
        while not self._ask():
            time.sleep(POLL_SECONDS)
        self.ready.set()

    def _ask(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=ANSWER_TIMEOUT_SECONDS)
        try:
            connection.request("GET", self._path)
            answer = connection.getresponse()
            text = answer.read(TOLD_CHARACTERS_MAX).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.last_answer = f"no answer yet ({error})"
            return False
        finally:
            connection.close()
        self.last_answer = f"{answer.status} {text}"
        return answer.status == http.client.OK


def reachable_host(host: str) -> str:
    """Return an address that reaches a server listening on `host`."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if isinstance(address, IPv4Address) else "::1"


def base_url(host: str, port: int) -> str:
    """Return the URL of a server listening on `host` and `port`, without a slash at its end."""
    reachable = reachable_host(host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
