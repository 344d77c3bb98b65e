"""`python -m scripts.institutions` as far as it needs no AWS: a file is read, checked, shown, or made an event."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.institutions import app

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "institutions.example.yaml"
ENTRY = "{code: 01OHIO_AAA, name: Ashgrove, contacts: [a@example.edu], region: na, time_zone: UTC, policy: "
SMALL = f"institutions:\n  - {ENTRY}{{deactivate: {{select: {{sweep: true}}}}}}}}\n"


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, output, and what went to stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_the_example_is_shown_as_it_will_be() -> None:
    """Every institution with its name, whom each action takes, and what to look at; the exit code is 0."""
    code, out, err = run("check", EXAMPLE)
    assert (code, err) == (0, "")
    assert f"{EXAMPLE} is right: 5 institutions, 4 of them on." in out
    for shown in ("Birchwater University", "America/Chicago", 'set "OHIONET purge"', "group EMERITUS", "100 patrons"):
        assert shown in out
    assert "look at 01OHIO_EEE: enabled: false: nothing happens there" in out
    assert out.count("01OHIO_BBB") == 3


def test_an_event_is_the_file_as_it_stands() -> None:
    """What is printed is the event, the file's text in it, and nothing else."""
    code, out, _ = run("event", EXAMPLE)
    assert code == 0
    assert json.loads(out) == {"command": "register", "registry": EXAMPLE.read_text(encoding="utf-8")}


@pytest.mark.parametrize(
    "written", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")], ids=["mark", "windows"]
)
def test_what_an_editor_of_windows_leaves_does_no_harm(tmp_path: Path, written: Callable[[bytes], bytes]) -> None:
    """A byte order mark and Windows' line ends make the same event as the file without them."""
    file = tmp_path / "institutions.yaml"
    file.write_bytes(written(EXAMPLE.read_bytes()))
    assert run("event", file) == run("event", EXAMPLE)
    assert run("check", file)[0] == 0


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "isn't there: correct the path"),
        (Path.mkdir, "is a folder: name the file in it"),
        (b"", "is empty: begin with a copy of institutions.example.yaml"),
        (b"\xef\xbb\xbf\r\n  \r\n", "is empty: begin with a copy of institutions.example.yaml"),
        (b"# Ashgrove\n# caf\xe9\n", ", line 2: a character that is no UTF-8: save the file as UTF-8"),
        (SMALL.encode("utf-16"), 'is saved as UTF-16, which Windows calls "Unicode": save it as UTF-8'),
        (SMALL.encode() + b"#" * 6_300_000, "is larger than the 6,291,456 bytes that AWS takes: is it the right file?"),
        (SMALL.encode() + b'#"' * 2_400_000, "bytes, and AWS takes 6,291,456: shorten it"),
        (SMALL.encode() + b"#" * 5_000_000, "- the file is longer than 5,000,000 characters"),
        (b"institutions: []", "- institutions: should be a list of at least one institution"),
        (b"a: [", "- not readable as YAML: line 1, column 5: "),
        (b"# nothing but a comment\n", "- the file should be a map with the keys defaults and institutions"),
        (
            SMALL.replace("sweep: true", 'set_id: "1", set_name: "2"').encode(),
            "- institutions[0] 01OHIO_AAA: policy.deactivate.select: give exactly one of sweep: true, set_id, set_name",
        ),
    ],
    ids=[
        *("missing", "folder", "empty", "blank", "latin", "utf-16", "huge", "quotes", "long", "nobody", "yaml"),
        *("comment", "mistake"),
    ],
)
@pytest.mark.parametrize("command", ["check", "event", "push"])
def test_a_file_that_cant_be_used_is_told(
    tmp_path: Path, command: str, content: bytes | Callable[[Path], None] | None, told: str
) -> None:
    """Each ends with a sentence that names the file and the mend, exit code 1, and no output that could be sent."""
    file = tmp_path / "mine.yaml"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        content(file)
    code, out, err = run(command, file, *(["--stack", "none", "--yes"] if command == "push" else []))
    assert (code, out) == (1, "")
    assert str(file) in err
    assert told in err
    assert "Traceback" not in err


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """One line for each mistake, so that a file is mended in one go."""
    file = tmp_path / "mine.yaml"
    file.write_text(SMALL.replace("na,", "mars,").replace("UTC", "Ohio").replace("sweep", "sweeep"))
    _, _, err = run("check", file)
    assert f"There are mistakes in {file}. Mend:" in err
    assert len([line for line in err.splitlines() if line.startswith("- institutions[0] 01OHIO_AAA: ")]) == 3


def test_a_name_can_neither_style_the_output_nor_steer_a_terminal(tmp_path: Path) -> None:
    """Brackets are shown as they are, control characters are not."""
    file = tmp_path / "mine.yaml"
    file.write_text(SMALL.replace("name: Ashgrove", 'name: "[red]Ash[/red]\\e]0;owned\\a"'))
    code, out, _ = run("check", file)
    assert code == 0
    assert "[red]Ash[/red]" in "".join(out.split())
    assert "\x1b" not in out
    assert "\x07" not in out


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "no AWS region is set: set AWS_DEFAULT_REGION"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "there are no AWS credentials here: log in, or set AWS_PROFILE"),
        ({"AWS_PROFILE": "nobody"}, "AWS can't be asked: The config profile (nobody) could not be found"),
        (
            {
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
                "AWS_MAX_ATTEMPTS": "1",
            },
            "AWS can't be reached (Could not connect to the endpoint URL",
        ),
    ],
    ids=["region", "credentials", "profile", "endpoint"],
)
@pytest.mark.parametrize("command", [("check",), ("push", "--yes")], ids=["check", "push"])
def test_an_aws_that_cant_be_asked_is_told(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    """Without a region, credentials, or a way to AWS: a sentence that says what to set, and exit code 1."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, _, err = run(*command, EXAMPLE, "--stack", "alma-patron-lifecycle-dev")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    assert code == 1
    assert told in err
    assert ("Nothing was registered." in err) is ("push" in command)
