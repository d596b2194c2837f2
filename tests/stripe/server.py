"""Stripe's API as localstripe imitates it, with the two rules that it leaves out. Run as a program: a port.

The real service makes one thing of requests with one idempotency key, and refunds no more than was paid. localstripe
ignores both. `POST /_test/faults` says what becomes of the next requests for refunds: `refuse` them, or `lose` the
answer. `GET /_test/refunds` counts requests for refunds.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from aiohttp import web
from localstripe.resources import PaymentIntent, Refund, store
from localstripe.server import app

_answers: dict[str, tuple[bytes, web.Response]] = {}
_faults: list[str] = []
_asked: list[str] = []


@web.middleware
async def as_the_real_service(request: web.Request, handler: Any) -> web.StreamResponse:
    """Enforce idempotency keys and the amount that can be refunded; play faults."""
    key, body = request.headers.get("Idempotency-Key"), await request.read()
    refunding = request.method == "POST" and request.path == "/v1/refunds"
    if refunding:
        _asked.append(key or "")
    fault = _faults.pop(0) if refunding and _faults else ""
    if fault == "refuse":
        return web.json_response({"error": {"type": "api_error", "message": "no"}}, status=500)
    if key in _answers:
        known, answer = _answers[key]
        if known != body:
            return web.json_response({"error": {"type": "idempotency_error", "message": "other"}}, status=400)
        return web.Response(status=answer.status, body=answer.body, content_type="application/json")
    if refunding and await _is_too_much(request):
        error = {"type": "invalid_request_error", "code": "charge_already_refunded", "message": "too much"}
        return web.json_response({"error": error}, status=400)
    answer = await handler(request)
    if key and request.method == "POST":
        _answers[key] = body, answer
    if fault == "lose" and request.transport is not None:
        request.transport.close()
    return answer


async def _is_too_much(request: web.Request) -> bool:
    asked = await request.post()
    intent = PaymentIntent._api_retrieve(asked["payment_intent"])
    made = [each for each in store.values() if isinstance(each, Refund) and each.payment_intent == intent.id]
    return sum(each.amount for each in made) + int(asked["amount"]) > intent.amount


async def set_faults(request: web.Request) -> web.Response:
    """Say what becomes of the next requests for refunds."""
    _faults[:] = json.loads(await request.read())
    return web.Response()


async def asked(_: web.Request) -> web.Response:
    """The keys of the requests for refunds."""
    return web.json_response(_asked)


async def forget_keys(_: web.Request) -> web.Response:
    """Forget the idempotency keys, as Stripe does after a day."""
    _answers.clear()
    return web.Response()


def main() -> None:
    """Serve until killed."""
    store.dump_to_disk = lambda: None
    app.middlewares.insert(0, as_the_real_service)
    app.router.add_post("/_test/faults", set_faults)
    app.router.add_get("/_test/refunds", asked)
    app.router.add_delete("/_test/keys", forget_keys)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, handle_signals=False)


if __name__ == "__main__":
    main()
