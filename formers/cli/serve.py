"""`formers serve`: models over HTTP, a route for every verb that they have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from formers.cli.options import AllowBin, Device, Dtype, Offline
from formers.cli.output import note
from formers.errors import ConfigError


def run(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Runs, model folders, .gguf files or hub ids.")
    ],
    host: Annotated[
        str, typer.Option("--host", metavar="NAME", help="Where to listen (default: this machine).")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0: any that is free.")] = 8000,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Serve models over HTTP: every verb is a route.

    POST /translate with {"texts": ["I ate an apple"]}; GET /models, /health, /openapi.json, /docs. A model answers one
    request at a time. There are no keys: whoever reaches the port may ask.
    """
    try:
        import uvicorn

        from formers.server.app import LOOPBACK, make_app
    except ImportError as error:
        raise ConfigError('serving needs the packages fastapi and uvicorn: pip install "formers[server]"') from error
    from formers.server.models import Models

    how: dict[str, Any] = {
        "dtype": dtype,
        "device": device,
        "allow_bin": allow_bin,
        "offline": True if offline else None,
    }
    loaded = Models.load(models, **how)
    local = host in LOOPBACK
    for name, model in loaded.served.items():
        note(f"{name}: {model.system.name} ({', '.join(model.verbs)})")
    if not local:
        note(f"listening on {host}: anybody who reaches this port may use the models")
    config = uvicorn.Config(
        make_app(loaded, hosts=LOOPBACK if local else ("*",)), host=host, port=port, log_level="warning"
    )
    server = uvicorn.Server(config)
    note(f"http://{host}:{port}/docs  (Ctrl-C ends)")
    server.run()
