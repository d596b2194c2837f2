"""A Stripe account for tests: its server, what a buyer does at Stripe, and the messages that Stripe sends."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import httpx
from pydantic import SecretStr

from ops.supervision.listener import free_port
from tests.processes import LOOK_EVERY_SECONDS, READY_SECONDS_MAX, ROOT

if TYPE_CHECKING:
    from domain.platform.settings import Settings

SECRET_KEY = "sk_test_51onsale"
WEBHOOK_SECRET = "whsec_onsale"

CARD = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2099", "cvc": "123"}


class StripeAccount:
    """The server of one test run."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._program = subprocess.Popen([sys.executable, "-m", "tests.stripe.server", str(port)], cwd=ROOT)
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {SECRET_KEY}"})

    def __enter__(self) -> Self:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                self._client.get("/v1/refunds")
            except httpx.TransportError:
                if time.monotonic() > deadline or self._program.poll() is not None:
                    raise
                time.sleep(LOOK_EVERY_SECONDS)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._program.kill()
        self._program.wait()

    def of(self, settings: Settings) -> Settings:
        """Settings with this account."""
        return provided(settings, api_base=self.url)

    def environment(self) -> dict[str, str]:
        """The same for a process."""
        return {
            "STRIPE_SECRET_KEY": SECRET_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_BASE": self.url,
        }

    def pay(self, intent: str) -> None:
        """What the buyer does with the client secret, at Stripe."""
        method = self._post("/v1/payment_methods", {"type": "card"} | {f"card[{k}]": v for k, v in CARD.items()})
        self._post(f"/v1/payment_intents/{intent}", {"payment_method": method["id"]})
        self._post(f"/v1/payment_intents/{intent}/confirm", {})

    def make_intent(self, **fields: str) -> str:
        """A PaymentIntent that another system of the account made."""
        return str(self._post("/v1/payment_intents", {"amount": "100", "currency": "eur"} | fields)["id"])

    def intent(self, intent: str) -> dict[str, Any]:
        """A PaymentIntent."""
        return dict(self._client.get(f"/v1/payment_intents/{intent}").json())

    def refunded(self, intent: str) -> list[int]:
        """The amounts that went back of a PaymentIntent."""
        found = self._client.get("/v1/refunds", params={"payment_intent": intent}).json()["data"]
        return [each["amount"] for each in found]

    def send_messages_to(self, url: str) -> None:
        """Let Stripe send its messages to a webhook."""
        body = {"url": url, "secret": WEBHOOK_SECRET, "events": ["payment_intent.succeeded"]}
        self._client.post("/_config/webhooks/onsale", json=body).raise_for_status()

    def fail(self, *faults: str) -> None:
        """Say what becomes of the next requests for refunds."""
        self._client.post("/_test/faults", json=list(faults)).raise_for_status()

    def forget_keys(self) -> None:
        """Forget idempotency keys."""
        self._client.delete("/_test/keys").raise_for_status()

    def requests_for_refunds(self) -> int:
        """How many requests for refunds came so far."""
        return len(self._client.get("/_test/refunds").json())

    def message(self, intent: str, *, kind: str = "payment_intent.succeeded") -> bytes:
        """What Stripe tells of a PaymentIntent."""
        told = {"id": "evt_1", "object": "event", "type": kind, "data": {"object": self.intent(intent)}, "new": 1}
        return json.dumps(told).encode()

    def _post(self, path: str, fields: dict[str, str]) -> dict[str, Any]:
        answer = self._client.post(path, data=fields)
        answer.raise_for_status()
        return dict(answer.json())


def provided(settings: Settings, *, api_base: str = "http://127.0.0.1:9") -> Settings:
    """Settings with the keys of an account, by default of one that nobody can reach."""
    return settings.model_copy(
        update={
            "stripe_secret_key": SecretStr(SECRET_KEY),
            "stripe_webhook_secret": SecretStr(WEBHOOK_SECRET),
            "stripe_api_base": api_base,
        }
    )


def signed(payload: bytes, *, secret: str = WEBHOOK_SECRET, age_s: int = 0) -> dict[str, str]:
    """The header fields of a message of Stripe."""
    at = int(time.time()) - age_s
    digest = hmac.new(secret.encode(), b"%d.%b" % (at, payload), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={digest}", "Content-Type": "application/json; charset=utf-8"}
