"""What this server (`api/server/`) adds to the ASGI scope of a request. Under another server, all of it is missing."""

from __future__ import annotations

WRITE_WHOLE = "write_whole"
"""A function that answers the request with one write, if it can."""

STOPPED = "stopped"
"""A function that returns a future. It is done once the request should not wait for a change any longer, because its
caller stopped sending or the server ends."""

ABORT = "abort"
"""A function that cuts the connection."""

WHOLE_SERVER = "whole_server"
"""Set if the request asks for the whole server: `OPTIONS *`."""

STOPPING = "stopping"
"""In the server's state (`scope["state"]`): set once the server has been told to end."""
