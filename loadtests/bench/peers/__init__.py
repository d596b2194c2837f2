"""What the engine is compared with, served the same way."""
