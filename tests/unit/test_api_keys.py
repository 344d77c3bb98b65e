"""API keys: taken from their secret, or the secret's trouble told without its content."""

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from patron_lifecycle.api_keys import SecretProblem, SecretsManager

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

SERVICE = "secretsmanager"
NAME = "alma-patron-lifecycle/dev/01OHIO_AAA"
KEY = "l7xx0123456789abcdef"
SHAPE = 'it should hold {"api_key": "…"}, the key of this institution, and nothing else'


@pytest.fixture
def secrets(client: "SecretsManagerClient") -> SecretsManager:
    """The secrets below the stage's prefix."""
    return SecretsManager(client, "alma-patron-lifecycle/dev")


def answer(stub: Stubber, text: str) -> None:
    """Let Secrets Manager answer once with this content."""
    stub.add_response("get_secret_value", {"Name": NAME, "SecretString": text}, {"SecretId": NAME})


def test_the_key_is_read_from_the_institutions_own_secret(stub: Stubber, secrets: SecretsManager) -> None:
    """The key comes from prefix/code, and is asked for anew each time so that a rotated one counts at once."""
    answer(stub, f'{{"api_key": "{KEY}"}}')
    answer(stub, '{"api_key": "l7xx-rotated"}')
    assert secrets.api_key("01OHIO_AAA") == KEY
    assert secrets.api_key("01OHIO_AAA") == "l7xx-rotated"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (" \n", "is empty"),
        (KEY, "is no JSON"),
        (f'{{"api_key": "{KEY}"', "is no JSON"),
        (f"{{'api_key': '{KEY}'}}", "is no JSON"),
        (f'"{KEY}"', "has no usable api_key"),
        (f'["{KEY}"]', "has no usable api_key"),
        ("null", "has no usable api_key"),
        (f'{{"apikey": "{KEY}"}}', "has no usable api_key"),
        ('{"api_key": ""}', "has no usable api_key"),
        ('{"api_key": 4711}', "has no usable api_key"),
        (f'{{"api_key": ["{KEY}"]}}', "has no usable api_key"),
        (f'{{"api_key": "{KEY}\\n"}}', "has no usable api_key"),
        (f'{{"api_key": "{KEY}\\r\\nX-Other: 1"}}', "has no usable api_key"),
        (f'{{"api_key": " {KEY}"}}', "has no usable api_key"),
        (f'{{"api_key": "{KEY}é"}}', "has no usable api_key"),
        (f'{{"api_key": "{KEY * 11}"}}', "has no usable api_key"),
    ],
)
def test_a_malformed_secret_is_told_without_its_content(
    stub: Stubber, secrets: SecretsManager, content: str, what: str
) -> None:
    """The text names the secret and the shape that it should have, and shows nothing of what is in it."""
    answer(stub, content)
    with pytest.raises(SecretProblem) as raised:
        secrets.api_key("01OHIO_AAA")
    assert str(raised.value) == f"secret {NAME} {what}: {SHAPE}"
    assert raised.value.__suppress_context__ or raised.value.__context__ is None, "no traceback shows the content"


def test_a_secret_of_bytes_counts_as_empty(stub: Stubber, secrets: SecretsManager) -> None:
    """A binary secret has no text to read a key from."""
    stub.add_response("get_secret_value", {"Name": NAME, "SecretBinary": KEY.encode()}, {"SecretId": NAME})
    with pytest.raises(SecretProblem, match="is empty"):
        secrets.api_key("01OHIO_AAA")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("ResourceNotFoundException", f'secret {NAME} is missing: create it with {{"api_key": "…"}}'),
        (
            "AccessDeniedException",
            f"secret {NAME} can't be read (AccessDeniedException): let worker and operator read and decrypt it",
        ),
        (
            "DecryptionFailure",
            f"secret {NAME} can't be read (DecryptionFailure): let worker and operator read and decrypt it",
        ),
        ("InvalidRequestException", f"secret {NAME} is marked for deletion: restore it or create it anew"),
    ],
)
def test_a_refusal_of_secrets_manager_says_what_to_mend(
    stub: Stubber, secrets: SecretsManager, code: str, sentence: str
) -> None:
    """A secret that isn't there or may not be read is told by name with the mend."""
    stub.add_client_error("get_secret_value", code, "words of AWS", expected_params={"SecretId": NAME})
    with pytest.raises(SecretProblem) as raised:
        secrets.api_key("01OHIO_AAA")
    assert str(raised.value) == sentence


def test_other_errors_of_aws_are_not_the_secrets_trouble(stub: Stubber, secrets: SecretsManager) -> None:
    """A passing failure of AWS is raised as it is, so that the message is tried again."""
    stub.add_client_error("get_secret_value", "InternalServiceError")
    with pytest.raises(ClientError):
        secrets.api_key("01OHIO_AAA")
