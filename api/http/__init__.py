"""The protocol: connections, headers, bodies, problem details, pages of lists, conditional requests."""
