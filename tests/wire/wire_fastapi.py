"""The same application in FastAPI, apart since its import takes long."""

from wire_app import auth  # isort: skip (it makes `seats` importable)
from seats import fastapi_app

from asgi_auth import AuthMiddleware

app = fastapi_app(auth)
app.add_middleware(AuthMiddleware, auth=auth)
