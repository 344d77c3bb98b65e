"""`python -P sandbox/emulator.py MAILS`: ministack, which also keeps each mail as it was sent.

It imports nothing else of this project, since it runs in a folder and an environment of its own.


ministack notes who a mail went to and its text, but drops the attachments. Whatever SES's SendEmail (version 2) was
asked to send is therefore kept in the folder MAILS, as the request's own JSON, in MESSAGE_ID.json.
"""

import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

_SEND_EMAIL = "/v2/email/outbound-emails"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def keeping_mails(application: Application, folder: Path) -> Application:
    """The ASGI application, of which each mail that it takes is kept in `folder`, before it says so."""

    async def kept(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") != _SEND_EMAIL or scope["method"] != "POST":
            await application(scope, receive, send)
            return
        asked, answered = bytearray(), bytearray()

        async def heard() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def said(message: Message) -> None:
            answered.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                _keep(bytes(asked), bytes(answered), folder)
            await send(message)

        await application(scope, heard, said)

    return kept


def _keep(asked: bytes, answered: bytes, folder: Path) -> None:
    try:
        message_id = json.loads(answered)["MessageId"]
    except (ValueError, KeyError, TypeError):
        return  # SES has refused it
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{Path(message_id).name}.json").write_bytes(asked)


def main(folder: Path) -> None:
    """Serve until interrupted, where ministack's own environment variables say."""
    from ministack import app  # noqa: PLC0415  # reads its environment as it is imported

    app.app = keeping_mails(app.app, folder)
    sys.argv = sys.argv[:1]  # ministack reads its own options from there
    app.main()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
