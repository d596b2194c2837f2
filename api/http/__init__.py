"""The protocol above the server: header fields, bodies, problem details, pages of lists, conditional requests."""
