"""API keys from Secrets Manager: `{SecretPrefix}/{code}` holds `{"api_key": "…"}`."""

import json
import re
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_KEY = re.compile(r"[!-~]{1,200}")  # printable ASCII without blanks: all that a header may carry


class SecretProblem(Exception):
    """An institution's secret is missing or malformed. The text says how to mend it and never shows the content."""


class Secrets(Protocol):
    """Where API keys come from."""

    def api_key(self, code: str) -> str:
        """The Alma API key of an institution. Raises `SecretProblem`."""
        ...


class SecretsManager:
    """AWS Secrets Manager, below one prefix. Keys are read anew each time, so that a rotated one is used at once."""

    def __init__(self, client: "SecretsManagerClient", prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def api_key(self, code: str) -> str:
        """See `Secrets`."""
        name = f"{self._prefix}/{code}"
        try:
            text = self._client.get_secret_value(SecretId=name).get("SecretString", "")
        except ClientError as error:
            match error.response["Error"]["Code"]:
                case "ResourceNotFoundException":
                    raise SecretProblem(f'secret {name} is missing: create it with {{"api_key": "…"}}') from None
                case "AccessDeniedException" | "DecryptionFailure" as refusal:
                    raise SecretProblem(
                        f"secret {name} can't be read ({refusal}): let worker and operator read and decrypt it"
                    ) from None
                case "InvalidRequestException":
                    raise SecretProblem(f"secret {name} is marked for deletion: restore it or create it anew") from None
                case _:
                    raise
        return self._key_in(text, name)

    def _key_in(self, text: str, name: str) -> str:
        shape = 'it should hold {"api_key": "…"}, the key of this institution, and nothing else'
        if not text.strip():
            raise SecretProblem(f"secret {name} is empty: {shape}")
        try:
            content = json.loads(text)
        except ValueError:
            raise SecretProblem(f"secret {name} is no JSON: {shape}") from None
        key = content.get("api_key") if isinstance(content, dict) else None
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise SecretProblem(f"secret {name} has no usable api_key: {shape}")
        return key
