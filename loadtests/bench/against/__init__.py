"""Two builds in turns: the working tree and another revision, measured in one run by the same cases."""
