"""What tests of several folders share: a real browser."""

import shutil

import pytest


@pytest.fixture(scope="module")  # and no longer: playwright keeps an event loop running, which others must not find
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="the pages' tests need playwright: pip install it")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("the tests of the pages need a Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
