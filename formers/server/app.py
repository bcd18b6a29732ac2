"""The HTTP server: POST /VERB with the verb's options as JSON gives its results as JSON, or as server-sent events.

GET /models /health /openapi.json /docs      {"error": one line} with status 400 for whatever is wrong with a request
"""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

import formers
from formers.errors import ConfigError, FormersError, one_line
from formers.files import parse_json
from formers.server.models import Models, Served, schema_of
from formers.systems.system import Event, Piece, Progress, Remark, Verb, record, resolve

FIX = "send an object of the verb's options"
LARGEST = 8 << 20  # bytes of a request
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
log = logging.getLogger("formers.server")


def make_app(models: Models, *, hosts: Iterable[str] = LOOPBACK) -> FastAPI:
    """The application. hosts: names under which it may be called ("*": any), so that no page elsewhere reaches it."""
    app = FastAPI(title="formers", version=formers.__version__, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_exception_handler(FormersError, lambda _, error: failure(400, str(error)))
    app.add_exception_handler(
        HTTPException,
        lambda request, error: failure(error.status_code, f"{request.method} {request.url.path}: {error.detail}"),
    )

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok", "version": formers.__version__}

    @app.get("/models")
    def list_models() -> list[dict[str, Any]]:
        """The models, with the verbs that each has."""
        return [
            {"name": model.name, "system": model.system.name, "verbs": list(model.verbs)}
            for model in models.served.values()
        ]

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page(models))

    for verb in models.verbs().values():
        add_route(app, models, verb)
    return app


def add_route(app: FastAPI, models: Models, verb: Verb) -> None:
    """POST /VERB."""
    schema = schema_of(resolve(verb.options))
    schema["properties"] = {
        "model": {"type": "string", "description": "Which model; needed where several have the verb."},
        "stream": {"type": "boolean", "default": False, "description": "Answer with server-sent events."},
        **schema["properties"],
    }

    async def answer(request: Request) -> Response:
        given = read(await body_of(request), verb.name)
        stream, name = given.pop("stream", False), given.pop("model", None)
        if not isinstance(stream, bool) or not isinstance(name, str | None):
            raise ConfigError(f"POST /{verb.name}: stream is true or false, and model a name")
        model = models.find(verb.name, name)
        options = model.options(model.verbs[verb.name], given)
        events = model.run(model.verbs[verb.name], options)
        if stream:
            first = await run_in_threadpool(next, events, None)  # a fault of the input is an answer, not an event
            return StreamingResponse(sent(chain([first] if first else [], events)), media_type="text/event-stream")
        return await run_in_threadpool(whole, model, events)

    app.post(
        f"/{verb.name}",
        summary=verb.help,
        name=verb.name,
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    )(answer)


async def body_of(request: Request) -> bytes:
    """The body of a request, of JSON and of bounded size."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ConfigError(f"POST {request.url.path}: expected the header content-type: application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise ConfigError(
                f"POST {request.url.path}: the request has more than {LARGEST:,} bytes; send less at a time"
            )
    return bytes(body)


def read(body: bytes, verb: str) -> dict[str, Any]:
    """A JSON object: the verb's options."""
    given: dict[str, Any] = parse_json(body, dict[str, Any], f"POST /{verb}: the request", error=ConfigError, fix=FIX)
    return given


def whole(model: Served, events: Iterator[Event]) -> Response:
    """All results at once."""
    results, remarks = [], []
    for event in events:
        if isinstance(event, Remark):
            remarks.append(event.text)
        elif not isinstance(event, Piece | Progress):
            results.append(record(event))
    return JSONResponse({"model": model.name, "results": results, **({"remarks": remarks} if remarks else {})})


def sent(events: Iterable[Event]) -> Iterator[str]:
    """Server-sent events: piece, progress, remark, result, in the end done, or error."""
    try:
        for event in events:
            kind = {Piece: "piece", Progress: "progress", Remark: "remark"}.get(type(event), "result")
            yield f"event: {kind}\ndata: {json.dumps(record(event), ensure_ascii=False)}\n\n"
    except FormersError as error:
        yield f"event: error\ndata: {json.dumps({'error': one_line(str(error))}, ensure_ascii=False)}\n\n"
        return
    yield "event: done\ndata: {}\n\n"


def failure(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": one_line(message)}, status_code=status)


def page(models: Models) -> str:
    """What can be asked, on one page that needs nothing from elsewhere."""
    parts = [
        "<!doctype html><meta charset=utf-8><title>formers</title><style>body{font:16px/1.5 sans-serif;max-width:50em;"
        "margin:2em auto;padding:0 1em}code,pre{background:#f3f3f3;padding:.1em .3em}td{padding:.1em 1em .1em 0;"
        "vertical-align:top}</style><h1>formers</h1><ul>"
    ]
    for model in models.served.values():
        parts.append(f"<li><b>{html.escape(model.name)}</b>: {model.system.title} ({', '.join(model.verbs)})")
    parts.append("</ul>")
    for verb in models.verbs().values():
        schema = schema_of(resolve(verb.options))
        parts.append(f"<h2>POST /{verb.name}</h2><p>{html.escape(verb.help)}</p><table>")
        for name, field in schema["properties"].items():
            kind = " | ".join(field["enum"]) if "enum" in field else field["type"]
            parts.append(f"<tr><td><code>{name}</code><td>{html.escape(kind)}<td>{html.escape(field['description'])}")
        parts.append("</table>")
    parts.append(
        '<p>Every route also takes <code>model</code> and <code>stream</code>; <a href="/openapi.json">OpenAPI</a>.'
    )
    return "".join(parts)
