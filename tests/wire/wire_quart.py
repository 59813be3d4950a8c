"""The same application in Quart, apart since its import takes long."""

from seats import quart_app
from wire_app import auth

from asgi_auth import AuthMiddleware

app = quart_app(auth)
app.asgi_app = AuthMiddleware(app.asgi_app, auth)  # type: ignore[method-assign]
