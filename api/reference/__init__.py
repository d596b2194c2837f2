"""The API reference: the OpenAPI document, Swagger UI, ReDoc, and the page of problems."""
