"""The kernel: claims on counters, bookings and their states, partitions, refusals, differences. Pure."""
