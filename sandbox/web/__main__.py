"""`python -m sandbox.web`: the page of a sandbox's dashboards as a process of its own."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sandbox import serving
from sandbox.web.cloud import LocalCloud
from sandbox.web.server import application


def main(
    state: Annotated[Path, typer.Option(help="Where the sandbox keeps its files. It may be started later.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 0,
) -> None:
    """Serve the dashboards and the mail box on 127.0.0.1; prints {"url": …} once it answers."""
    try:
        serving.serve(
            application(LocalCloud(state)),
            port,
            lambda url: print(json.dumps({"url": url}), flush=True),
            log_level="warning",
        )
    except OSError as error:
        raise typer.BadParameter(f"--port {port} can't be used: {error.strerror}. 0 takes a free one") from None


if __name__ == "__main__":
    typer.run(main)
