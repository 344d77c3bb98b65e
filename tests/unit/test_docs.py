"""Docs, events and the registry's example say what the code does."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from samtranslator.yaml_helper import yaml_parse

from patron_lifecycle.policy.model import ActionPolicy, Deactivate, Pace, Protect, Purge, Select
from patron_lifecycle.policy.reasons import Action, Outcome, Reason
from patron_lifecycle.policy.rules import rules_for
from patron_lifecycle.registry import parse_registry
from patron_lifecycle.runs.events import OPERATOR_EVENTS, parse_operator, parse_start
from patron_lifecycle.runs.guards import Figures, Guard, guard_of
from patron_lifecycle.runs.model import Baseline, Mode
from scripts.registry_review import risks
from scripts.rules_page import PAGE, main, rules_page
from tests.samples import CODE, NOW, deactivate, purge
from tests.template import SOURCE, Stack

ROOT = Path(__file__).parents[2]
EVENTS = sorted((ROOT / "events").glob("*.json"))
DOCS = sorted((ROOT / "docs").glob("*.md"))
ONBOARDING = (ROOT / "docs" / "onboarding.md").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
COMMUNITY = 'set "Community patrons"'


def test_the_page_of_rules_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """docs/rules.md is as generated, so it can't fall behind; if this fails, `make rules` mends it."""
    assert PAGE.read_text(encoding="utf-8") == rules_page()
    monkeypatch.setattr("scripts.rules_page.PAGE", tmp_path / "rules.md")
    main()
    assert (tmp_path / "rules.md").read_text(encoding="utf-8") == rules_page()


@pytest.mark.parametrize("name", [*Reason, *Outcome, *Guard, "alma_<code>"])
def test_the_page_of_rules_leaves_nothing_out(name: str) -> None:
    """Every reason, outcome and guard has a row."""
    assert re.search(rf"^\|( \d+ \|)? `{name}` \|", rules_page(), re.MULTILINE)


@pytest.mark.parametrize("policy", [deactivate(), purge()])
def test_the_settings_that_a_rule_goes_by_are_keys_of_the_policy(policy: ActionPolicy) -> None:
    """All keys of a policy that judge patrons are named by a rule, and none that isn't there."""
    named = {key for rule in rules_for(policy) for key in rule.settings}
    about_runs = {
        "enabled",
        "select",
        "also_select",
        "max_patrons",
        "max_percent",
        "vault_days",
        "first_run",
        "exclude",
    }
    keys = set(type(policy).model_fields) - about_runs
    keys |= {f"exclude.{key}" for key in type(policy.exclude).model_fields}
    assert named == keys | {f"protect.{key}" for key in Protect.model_fields}


def figures(**changes: Any) -> Figures:
    """A purge that no guard would hold: a hundred candidates of ten thousand users, after one that was like it."""
    usual: dict[str, Any] = {
        "policy": purge(),
        "candidates": 100,
        "all_users": 10_000,
        "exclusion_sizes": {COMMUNITY: 40},
        "baseline": Baseline(
            code=CODE,
            action=Action.PURGE,
            run_id="purge-0",
            finished_at=NOW,
            changes=90,
            ever_changed=True,
            exclusion_sizes={COMMUNITY: 40},
        ),
    }
    return Figures(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({}, None),
        ({"baseline": None}, Guard.FIRST_RUN),
        ({"exclusion_sizes": {COMMUNITY: 0}}, Guard.EXCLUSION_SET_EMPTY),
        ({"exclusion_sizes": {COMMUNITY: 19}}, Guard.EXCLUSION_SET_SHRUNK),
        ({"policy": purge(max_patrons=99)}, Guard.MAX_PATRONS),
        ({"all_users": 999}, Guard.MAX_PERCENT),
        ({"all_users": None}, Guard.MAX_PERCENT),
        ({"baseline": figures().baseline.but(changes=33)}, Guard.THREE_TIMES_LAST),  # type: ignore[union-attr]
    ],
)
def test_every_reason_to_hold_begins_with_the_name_of_its_guard(changes: dict[str, Any], guard: Guard | None) -> None:
    """Who reads a reason to hold finds its row in the table of guards, and the figures in the reason."""
    reasons = figures(**changes).hold_reasons(100)
    assert [guard_of(reason) for reason in reasons] == ([guard] if guard else [])
    assert all(reason.startswith(f"{guard}: ") and re.search(r"\d", reason) for reason in reasons)


def test_a_reason_to_hold_of_another_make_is_of_no_guard() -> None:
    """Text that isn't one of ours isn't taken for a guard's."""
    assert guard_of("") is None
    assert guard_of("maximum: 5") is None


@pytest.mark.parametrize("file", EVENTS, ids=lambda file: file.stem)
def test_every_event_is_valid_and_named_for_what_it_does(file: Path) -> None:
    """Each file in events/ is an event of the operator or the enumerator; a preview's name says so, and only its."""
    event = json.loads(file.read_text(encoding="utf-8"))
    if file.stem.startswith("operator-"):
        assert file.stem.startswith(f"operator-{parse_operator(event).command.replace('_', '-')}")
    else:
        start = parse_start(event)
        assert start.action in file.stem
        assert (start.mode is Mode.PREVIEW) is file.stem.startswith("preview-")


def test_there_is_an_event_for_everything_that_one_can_ask_for() -> None:
    """Every command of the operator, and a preview and a real run of every action."""
    asked = [json.loads(file.read_text(encoding="utf-8")) for file in EVENTS]
    assert {event["command"] for event in asked if "command" in event} == set(OPERATOR_EVENTS)
    starts = {(event["action"], event.get("mode", "preview")) for event in asked if "action" in event}
    assert starts == {(action, mode) for action in Action for mode in Mode}


def test_the_register_event_holds_the_example() -> None:
    """events/operator-register.json is what scripts/institutions.py makes of institutions.example.yaml."""
    event = json.loads((ROOT / "events" / "operator-register.json").read_text(encoding="utf-8"))
    assert event["registry"] == (ROOT / "institutions.example.yaml").read_text(encoding="utf-8")


def test_the_example_shows_every_key_with_its_default() -> None:
    """What the example's defaults say is what holds without them, the selections left out, and no key is missing."""
    text = (ROOT / "institutions.example.yaml").read_text(encoding="utf-8")
    by_the_defaults = parse_registry(text)[0].policy
    assert by_the_defaults.deactivate == Deactivate(select=Select(sweep=True))
    assert by_the_defaults.purge == Purge(select=Select(set_name="OHIONET purge"))
    assert by_the_defaults.pace == Pace()
    shown = text.partition("institutions:\n  # All by")[0]
    assert [key for key in Purge.model_fields if f"      {key}: " not in shown] == []
    assert [key for key in Deactivate.model_fields if f"      {key}: " not in shown] == []
    assert [key for key in Pace.model_fields if f"      {key}: " not in shown] == []


def test_the_example_has_a_purge_that_selects_more_and_excludes() -> None:
    """One library shows also_select and exclude side by side."""
    policies = [one.policy.purge for one in parse_registry((ROOT / "institutions.example.yaml").read_text("utf-8"))]
    assert any(one and one.also_select.each and one.exclude.each and one.vault_days for one in policies)


def commands(text: str) -> list[str]:
    """The lines of a page's blocks of commands, and its commands inside a sentence; a line that goes on is one."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fenced.findall(text) if language in ("", "sh")]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    inline = [
        " ".join(found.split()) for found in re.findall(r"`((?:make|aws|python -m)\s[^`]*)`", fenced.sub("", text))
    ]
    return [*lines, *inline]


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.stem)
def test_every_command_of_a_page_is_there(page: Path) -> None:
    """A target of make is in the Makefile, a module that is run is in the project, a name given to make is used."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands(page.read_text(encoding="utf-8")):
        words = command.split()
        if words[0] == "make":
            assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), command
            given = [word.partition("=")[0] for word in words[2:]]
            assert all(f"$({name})" in makefile for name in given), command
        if "-m" in words:
            assert importlib.util.find_spec(words[words.index("-m") + 1]), command


def aws_commands() -> list[str]:
    """All commands of the AWS CLI in the docs, those of `aws s3` left out, which are the CLI's own."""
    found = [command for page in DOCS for command in commands(page.read_text(encoding="utf-8"))]
    return [command for command in found if command.startswith("aws ") and not command.startswith("aws s3 ")]


@pytest.mark.parametrize("command", aws_commands())
def test_every_command_of_the_aws_cli_has_its_options(command: str) -> None:
    """Service, operation and options are those of AWS's own description, and none that has to be given is missing."""
    _, service, operation, *arguments = shlex.split(command)
    model = botocore.session.get_session().get_service_model(service)
    (name,) = [name for name in model.operation_names if xform_name(name, "-") == operation]
    shape = model.operation_model(name).input_shape
    assert shape is not None
    options = {argument.removeprefix("--") for argument in arguments if argument.startswith("--")}
    of_the_cli = {"cli-binary-format", "cli-read-timeout", "query", "output", "invocation-type"}
    known = {xform_name(member, "-") for member in shape.members}
    assert options - of_the_cli <= known
    assert not arguments or {xform_name(member, "-") for member in shape.required_members} <= options


def test_there_are_commands_to_hold() -> None:
    """The tests above look at something."""
    assert len(aws_commands()) >= 4
    assert any(command.startswith("make institutions-push ") for command in commands(ONBOARDING))


def test_the_example_of_onboarding_is_valid_and_careful() -> None:
    """The least that a library needs registers as it stands; nothing of it is risky, and its first run is held."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```", ONBOARDING, re.DOTALL | re.MULTILINE)
    institutions = parse_registry(example)
    assert risks(institutions) == []
    (policy,) = [one.policy for one in institutions]
    assert policy.deactivate is not None
    assert policy.deactivate.max_patrons == 1
    assert policy.purge is not None
    assert (policy.purge.first_run, policy.purge.exclude.set_names) == ("hold", ("Community patrons",))


def test_parameters_and_outputs_that_onboarding_names_are_the_templates() -> None:
    """Every name in CamelCase is a parameter or an output of template.yaml."""
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", ONBOARDING))
    assert {"ApplyPurge", "NoticeSender", "OperatorFunction"} <= named
    assert named <= {*template["Parameters"], *template["Outputs"]}


def test_every_page_is_in_the_readme() -> None:
    """Whoever reads the README finds all docs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCS if f"(docs/{page.name})" not in readme] == []


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alarm_has_its_part_of_the_runbook_and_every_part_its_alarm() -> None:
    """An alarm's description ends with the address of what to do; the runbook has nothing that no alarm leads to."""
    where = "https://wiki.example.edu/runbook"
    alarms = Stack(RunbookUrl=where).of_type("AWS::CloudWatch::Alarm").values()
    texts = [alarm["AlarmDescription"] for alarm in alarms]
    assert all(len(text) <= 1024 and text.count("#") == 1 for text in texts)
    led_to = sorted(text.rpartition(f" {where}#")[2] for text in texts)
    assert led_to == sorted(anchors(re.sub(r"^# .*$", "", RUNBOOK, flags=re.MULTILINE)))
    assert SOURCE["Parameters"]["RunbookUrl"]["Default"] == "docs/runbook.md"


def test_every_part_of_the_runbook_tells_what_one_needs_at_night() -> None:
    """What the alarm means, what to look at, what to do, and when it is over, in this order."""
    parts = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    asked = ["What it means.", "What to look at.", "What to do.", "When it is over."]
    for part in parts:
        assert re.findall(r"^\*\*(.*?)\*\*", part, re.MULTILINE) == asked, part.partition("\n")[0]


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.stem)
def test_every_link_and_file_of_a_page_exists(page: Path) -> None:
    """Links lead to a file, or to a heading, that is there."""
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^):]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link
    named = re.findall(r"`((?:events|functions|layers|sandbox|scripts|docs|tests)/[^`\s]*)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
