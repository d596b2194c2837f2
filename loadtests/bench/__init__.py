"""The bench: what Onsale takes on this machine, measured side by side with what it stands on."""
