"""What is sold: events and the terms of their sales, money, time zones. Pure."""
