"""The sign-up page: the files that `services/gateway/web` is built into, shown strictly."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUILT = Path(__file__).with_name("site")

POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{what}-src 'self'" for what in ("script", "style", "img", "connect")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""Nothing from elsewhere, nothing inline, in nobody's frame."""

HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
}


def page(built: Path = BUILT) -> ASGIApp:
    """Return the application that serves the page at `/`, to GET and HEAD."""
    files = StaticFiles(directory=built, html=True)
    strictly = [Middleware(Strict), Middleware(GZipMiddleware)]
    return Starlette(routes=[Mount("/", files)], middleware=strictly)


class Strict:
    """Adds the headers that keep the page to itself, and says how long a file may be kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, with our headers."""
        # What is in assets/ has a hash of its content in its name.
        kept = "public, max-age=31536000, immutable" if "/assets/" in scope["path"] else "no-cache"

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["cache-control"] = kept if message["status"] < 400 else "no-store"
            await send(message)

        await self._app(scope, receive, sent)
