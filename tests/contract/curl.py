"""Stands in for curl on a machine without it, with the options that the documentation uses: -s, -i, -X, -H, -d.

The suite needs only Python, make and git.
"""

from __future__ import annotations

import argparse
import sys

import httpx


def main() -> None:
    """Send one request and print the answer; exit with 6 when there is no answer."""
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("-s", action="store_true")
    options.add_argument("-i", action="store_true")
    options.add_argument("-X", dest="method")
    options.add_argument("-H", dest="headers", action="append", default=[])
    options.add_argument("-d", dest="data")
    given = options.parse_args()
    headers = dict(header.split(": ", 1) for header in given.headers)
    try:
        answer = httpx.request(
            given.method or ("GET" if given.data is None else "POST"),
            given.url,
            headers=headers,
            content=given.data,
            timeout=60,
            trust_env=False,
        )
    except httpx.TransportError as error:
        sys.stderr.write(f"curl: {error}\n")
        sys.exit(6)
    if given.i:
        lines = [f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        sys.stdout.write("\n".join(lines) + "\n\n")
    sys.stdout.write(answer.text)


if __name__ == "__main__":
    main()
