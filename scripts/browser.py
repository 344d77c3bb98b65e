"""The browser that the tests and `make screenshots` look at pages with: a Chromium of this machine."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")  # scripts/find-chromium knows them too


class NoChromium(Exception):
    """There is no Chromium on the path; says how to come by one."""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser for as long as the block lasts. Raises `NoChromium`."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # takes a while

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise NoChromium(f"none of {', '.join(NAMES)} is on the path; scripts/find-chromium says how to install one")
    # Chromium's own sandbox refuses to work for root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()
