"""Locust with the cheapest task: its rate is the ceiling of locust itself."""

from __future__ import annotations

import json
from uuid import uuid4

from locust import FastHttpUser, constant, task

BODY = json.dumps({"event_id": str(uuid4()), "quantity": 1})
HEADERS = {"Content-Type": "application/json"}


class Asker(FastHttpUser):
    """Sends requests to the bare application without a pause."""

    wait_time = constant(0)

    @task
    def ask(self) -> None:
        """Post a small body."""
        self.client.post("/bookings", data=BODY, headers=HEADERS)
