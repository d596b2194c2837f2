"""The bench: the load that Onsale carries on this machine, measured beside the software that it builds on."""
