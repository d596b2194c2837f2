"""The engine: what is scarce, who holds it, and how a booking becomes durable."""
