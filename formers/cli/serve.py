"""`formers serve`: models over HTTP, a route for every verb that they have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from formers.cli.command import own_command
from formers.cli.options import Opening
from formers.cli.output import note
from formers.errors import PackageError
from formers.fields import Between, Part
from formers.systems.system import Typed


@dataclass(frozen=True)
class ServeOptions:
    """What to serve, and where."""

    models: Annotated[tuple[str, ...], Typed("MODEL", positional=True)]
    """Runs, model folders, .gguf or .safetensors files, or hub ids."""
    host: Annotated[str, Typed("NAME")] = "127.0.0.1"
    """Where to listen."""
    port: Annotated[int, Between(0, 65535)] = 8000
    """0: any that is free."""
    opening: Annotated[Opening, Part()] = field(default_factory=Opening)
    """How the models are opened."""


@own_command
def run(options: ServeOptions) -> None:
    """Serve models over HTTP: every verb is a route.

    POST /translate with {"texts": ["I ate an apple"]}; GET /models, /health, /openapi.json, /docs. A model answers one
    request at a time. There are no keys: whoever reaches the port may ask.
    """
    try:
        import uvicorn

        from formers.server.app import LOOPBACK, make_app
    except ImportError as error:
        raise PackageError('serving needs the packages fastapi and uvicorn: pip install "formers[server]"') from error
    from formers.server.models import Models

    host, port = options.host, options.port
    loaded = Models.load(list(options.models), **options.opening.arguments())
    local = host in LOOPBACK
    for name, model in loaded.served.items():
        note(f"{name}: {model.system.name} ({', '.join(model.verbs)})")
    if not local:
        note(f"listening on {host}: anybody who reaches this port may use the models")
    config = uvicorn.Config(
        make_app(loaded, hosts=LOOPBACK if local else ("*",)), host=host, port=port, log_level="warning"
    )
    note(f"http://{host}:{port}/docs  (Ctrl-C ends)")
    uvicorn.Server(config).run()
