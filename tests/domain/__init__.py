"""The pure core, without servers."""
