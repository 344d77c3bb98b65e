"""Holds for all tests: property tests look for counter-examples, not at the clock of a busy machine; and a browser."""

import os
import sys
import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from scripts.browser import NoChromium, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("project")

PATIENCE = 20_000  # milliseconds until what should be on a page is missed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test marked `untraced` run without coverage, which takes as long as the test itself."""
    if item.get_closest_marker("untraced") is None:
        return (yield)
    tracers = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracers[0])
        threading.settrace(tracers[1])


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A Chromium, for all tests. Where there is none they are skipped; in CI they fail."""
    try:
        with chromium() as started:
            yield started
    except NoChromium as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def browser_page(browser: "Browser") -> Iterator["Page"]:
    """An empty page of 1,400 by 900 pixels. The test fails if the browser complains of anything that it shows."""
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
    assert complaints == []
