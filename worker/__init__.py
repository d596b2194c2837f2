"""Jobs in, engine calls out."""
