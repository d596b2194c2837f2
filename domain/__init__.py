"""The booking engine: counters of tickets, the claims on them, and the persistence of bookings."""
