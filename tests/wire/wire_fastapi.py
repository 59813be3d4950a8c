"""The same application in FastAPI, apart since its import takes long."""

from seats import fastapi_app
from wire_app import auth

from asgi_auth import AuthMiddleware

app = fastapi_app(auth)
app.add_middleware(AuthMiddleware, auth=auth)
