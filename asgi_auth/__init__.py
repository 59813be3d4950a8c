"""Sessions and JWTs for any ASGI app."""
