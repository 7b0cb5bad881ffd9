"""Serve the review page: each route checks who asks and returns JSON, an image or a file."""

import hashlib
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp

from data_specs.errors import (
    CleanplateError,
    LeaseExpiredError,
    LeaseFinishedError,
    NotYoursError,
    UnknownKeyError,
)
from data_specs.review import Person, ReviewQuality
from tasks.review.auth import RateLimits, Refusal, Sessions, csrf_of
from tasks.review.middleware import Guard, PublicUrl
from tasks.review.quality import batch_quality
from tasks.review.service import AnswerBody, ImageName, LeaseBody, ReviewImages, ReviewService, UndoBody
from tasks.storage.ledger import Ledger
from tasks.storage.workspace import Workspace

# The page's files. They are read once at the start; a requested name is looked up, never opened.

_FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent."""

    content: bytes
    media_type: str


class PageFiles:
    """Files by their path below ``page/``, and their common version."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): PageFile(path.read_bytes(), _media_type(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(f"{name}:{len(file.content)}:".encode() + file.content)
        self.version = digest.hexdigest()[:12]
        """12 hexadecimal digits. Another byte in any file gives another version."""

    @property
    def index(self) -> PageFile:
        """``index.html``. It requests its assets under this version's path, whose content never changes."""
        plain = self._files["index.html"]
        versioned = plain.content.replace(b'"static/', f'"static/{self.version}/'.encode())
        return PageFile(versioned, plain.media_type)

    def find(self, path: str) -> tuple[PageFile | None, bool]:
        """The file of a path below ``/static/``, and whether the path names this version."""
        name = path.removeprefix(f"{self.version}/")
        return self._files.get(name), name != path


def _media_type(path: Path) -> str:
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


# The quality page: a batch's figures as one small page, rendered on the server.

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def quality_page(ledger: Ledger, batch: str | None, version: str) -> str:
    """The page as HTML. ``version`` is that of the page's files. ``batch`` is None if there is none yet."""
    quality = None if batch is None else batch_quality(ledger, batch)
    counts = None if batch is None else ledger.batches.counts(batch)
    return (
        _TEMPLATES.get_template("quality_page.html")
        .render(name=batch, quality=quality, counts=counts, version=version)
        .lstrip()
    )


FOR_GOOD = "private, max-age=31536000, immutable"


class TokenBody(BaseModel):
    """A reviewer's token."""

    token: str = Field(min_length=1, max_length=200)


def _no_hook(batch: str) -> None:
    """Nobody waits for the batch."""


def create_app(
    workspace: Workspace,
    *,
    batch: str | None = None,
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "[::1]"}),
    secure: bool = False,
    public_url: PublicUrl | None = None,
    limits: RateLimits | None = None,
    when_complete: Callable[[str], None] = _no_hook,
) -> ASGIApp:
    """The server's application.

    Args:
        workspace: The workspace of the ledger and the shards.
        batch: The batch to ask about. None means all batches that want answers, oldest first.
        hosts: Host names, without port, that requests may use.
        secure: Whether the server is behind TLS. Its cookie is then sent over TLS only.
        public_url: The URL that people open if there is a proxy. None means the server itself.
        limits: Rate limits. None means the defaults.
        when_complete: Called with a batch's name after its last wanted answer.
    """
    ledger, pages = workspace.ledger(keep_connections=True), PageFiles()
    images = ReviewImages(workspace, ledger)
    prefix = public_url.prefix if public_url else ""
    sessions = Sessions(ledger, limits or RateLimits(), secure, prefix)
    service = ReviewService(ledger, images, batch, pages.version, when_complete)
    # A redirect would contain this server's own scheme and host. Behind a proxy the browser uses others.
    app = FastAPI(
        title="cleanplate review", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    _add_refusals(app)
    _add_api(app, sessions, service)
    _add_quality(app, sessions, service, ledger, pages.version)
    _add_files(app, sessions, pages, images)
    return Guard(app, hosts, public_url)


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(CleanplateError)
    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, CleanplateError)
        return JSONResponse({"error": str(error)}, _status_of(error))

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 400)

    @app.exception_handler(HTTPException)
    def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse(
            {"error": f"{request.method} {request.url.path}: {error.detail}"}, error.status_code
        )


_STATUS: dict[type[CleanplateError], int] = {
    UnknownKeyError: 404,
    NotYoursError: 403,
    LeaseFinishedError: 409,
    LeaseExpiredError: 410,
}


def _status_of(error: CleanplateError) -> int:
    """The HTTP status of a deliberate error. 503 for a fault of ours that may pass."""
    if isinstance(error, Refusal):
        return error.status
    return _STATUS.get(type(error), 503)


def _add_api(app: FastAPI, sessions: Sessions, service: ReviewService) -> None:
    asking = Depends(sessions.asking)

    @app.post("/api/session")
    def sign_in(request: Request, response: Response, body: TokenBody) -> dict[str, str]:
        return {"person": sessions.sign_in(request, response, body.token).name}

    @app.delete("/api/session")
    def sign_out(request: Request, response: Response, person: Annotated[Person, asking]) -> dict[str, str]:
        sessions.sign_out(request, response)
        return {"person": person.name}

    @app.get("/api/state")
    def state(request: Request, person: Annotated[Person, asking]) -> dict[str, Any]:
        return {**service.state(person), "csrf": csrf_of(request.cookies[sessions.cookie])}

    @app.post("/api/lease")
    def lease(person: Annotated[Person, asking], body: LeaseBody) -> dict[str, Any]:
        return service.lease(person, body)

    @app.post("/api/answer")
    def answer(person: Annotated[Person, asking], body: AnswerBody) -> dict[str, Any]:
        return service.answer(person, body)

    @app.post("/api/undo")
    def undo(person: Annotated[Person, asking], body: UndoBody) -> dict[str, Any]:
        return service.undo(person, body)


def _add_quality(
    app: FastAPI, sessions: Sessions, service: ReviewService, ledger: Ledger, version: str
) -> None:
    signed_in = [Depends(sessions.asking)]

    @app.get("/api/quality", dependencies=signed_in)
    def quality() -> ReviewQuality:
        batch = service.batch_to_show()
        if batch is None:
            raise Refusal(404, "no review batch is open; open one with `cleanplate review open`")
        return batch_quality(ledger, batch)

    @app.get("/quality", dependencies=signed_in)
    def page() -> HTMLResponse:
        return HTMLResponse(quality_page(ledger, service.batch_to_show(), version))


def _add_files(app: FastAPI, sessions: Sessions, pages: PageFiles, images: ReviewImages) -> None:
    @app.get("/")
    def index() -> Response:
        return _file(pages.index)

    @app.get("/static/{path:path}")
    def static(path: str) -> Response:
        content, versioned = pages.find(path)
        if content is None:
            raise Refusal(404, "the page has no such image or file; load the page again")
        return _file(content, "public, max-age=31536000, immutable" if versioned else "no-cache")

    @app.get("/images/{candidate}/{name}.png", dependencies=[Depends(sessions.person)])
    def image(request: Request, candidate: str, name: ImageName) -> Response:
        content = images.image(candidate, name)
        headers = {"ETag": content.etag, "Cache-Control": FOR_GOOD}
        if request.headers.get("if-none-match") == content.etag:
            return Response(status_code=304, headers=headers)
        return Response(content.content, media_type=content.media_type, headers=headers)


def _file(file: PageFile, cache: str = "no-store") -> Response:
    return Response(file.content, headers={"Content-Type": file.media_type, "Cache-Control": cache})
