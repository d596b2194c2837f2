"""Applications that the API is compared with, served the same way."""
