"""The page in a real browser, before a real gateway that has received and delivered a series.

The browser's console stays empty all the while: whatever the content security policy stopped would be there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from router.samples import generate
from router.secrets import hash_password
from tests.peers.gateway import Gateway, modality, router
from tests.peers.sink import Sink
from tests.web.browser import PATIENCE_MS, Tab, browser, opened

__all__ = ["browser"]  # a fixture

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A gateway, and an image that it has delivered."""

    gateway: Gateway
    uid: str
    report: Path  # for the folder, and not sent yet

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.gateway.http}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("page")
    samples = generate(directory / "study", ct_slices=3, mr_slices=0, bundled=False)
    (report,) = [sample.path for sample in samples if sample.modality == "SR"]
    series = [str(sample.path) for sample in samples if sample.modality == "CT"]
    with ExitStack() as running:
        archive = running.enter_context(Sink(directory / "archive", "--ae-title", "ARCHIVE"))
        block = {
            "modalities": {"archive": modality(archive.port, "ARCHIVE")},
            "destinations": {"folder": {"folder": f"{directory}/files/{{SOPInstanceUID}}.dcm"}},
            "rules": [
                {"rule": "everything", "send": "archive"},
                {"rule": "reports", "when": {"Modality": "SR"}, "send": "folder"},
            ],
        }
        gateway = running.enter_context(Gateway(directory / "gateway", block))
        target = f"ROUTER@127.0.0.1:{gateway.port}"
        sent = router("send", target, *series, "--calling-ae", "CT1")
        assert sent.returncode == 0, sent.stderr
        gateway.wait_quiet()
        yield Site(gateway=gateway, uid=samples[0].sop_instance_uid, report=report)


@pytest.fixture
def tab(site: Site, browser: Browser) -> Iterator[Tab]:
    with opened(browser, site.address) as opened_tab:
        yield opened_tab
    assert opened_tab.complaints == []


def test_the_overview_shows_that_images_flow(site: Site, tab: Tab) -> None:
    page = tab.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Takes images")
    archive = page.locator("#destination-archive")
    expect(archive.locator(".badge")).to_have_text("up")
    expect(archive.locator("td.number")).to_have_text(["0", "0", "0", "0", "–"])
    expect(page.locator(".chart canvas")).to_have_count(2)
    # The counts of the series, in the chart's own numbers, as soon as the second sample is there.
    expect(page.locator("#flow")).to_have_attribute("data-flow", re.compile(r"^\[\[\[-?\d"))


def test_a_trace_tells_what_happened(site: Site, tab: Tab) -> None:
    page = tab.page
    page.get_by_role("searchbox").fill(f" {site.uid} ")
    page.get_by_role("button", name="Trace").click()
    story = page.locator(".story")
    expect(story.locator("header")).to_contain_text("Delivered to archive.")
    expect(story).to_contain_text("CT1 sent it from 127.0.0.1")
    expect(story).to_contain_text("everything matched: it applies to everything")
    expect(story).to_contain_text("Success (0000)")
    others = story.locator("details")
    expect(others.locator("ul")).to_be_hidden()
    others.locator("summary").click()
    expect(others.locator("ul")).to_contain_text("reports: Modality")
    look_again(page)
    expect(others.locator("ul")).to_be_visible()  # what was opened stays open


def look_again(page: Page) -> None:
    """Have the page ask for itself now, and wait until it has."""
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true"):
        page.evaluate("document.dispatchEvent(new CustomEvent('look'))")


def test_pause_and_resume_by_click(site: Site, tab: Tab) -> None:
    page = tab.page
    archive = page.locator("#destination-archive")
    archive.get_by_role("button", name="Pause archive").click()
    expect(page.get_by_role("status")).to_have_text(re.compile("Nothing more is sent to archive"))
    expect(archive.locator(".badge")).to_have_text("paused")
    expect(archive).to_contain_text("Paused by http since")
    (shown,) = [
        one for one in json.loads(site.gateway.get("/api/v1/destinations")) if one["name"] == "archive"
    ]
    assert shown["paused_by"] == "http"
    archive.get_by_role("button", name="Resume archive").click()
    expect(archive.locator(".badge")).to_have_text("up")
    page.get_by_role("link", name="Audit").click()
    lines = page.locator("tbody tr")
    expect(lines.nth(0)).to_contain_text("resume-destination")
    expect(lines.nth(1)).to_contain_text("pause-destination")


def test_what_is_held_is_discarded_after_a_question(site: Site, tab: Tab) -> None:
    page, gateway = tab.page, site.gateway
    page.get_by_role("button", name="Pause folder").click()
    expect(page.locator("#destination-folder .badge")).to_have_text("paused")
    sent = router("send", f"ROUTER@127.0.0.1:{gateway.port}", str(site.report), "--calling-ae", "CT1")
    assert sent.returncode == 0, sent.stderr
    page.goto("/queue?destination=folder")
    (row,) = page.locator("tbody tr").all()
    expect(row).to_contain_text("Waits: folder is paused by http.")
    row.get_by_role("checkbox").check()
    look_again(page)
    expect(row.get_by_role("checkbox")).to_be_checked()
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_role("status")).to_have_text("1 delivery is held.")
    expect(row).to_contain_text("Held since")
    page.get_by_role("button", name="Discard…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Discard this delivery?")
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("main")).to_contain_text("1 delivery is discarded.")
    assert not gateway.deliveries("held")
    page.goto("/")
    page.get_by_role("button", name="Resume folder").click()
    expect(page.locator("#destination-folder .badge")).to_have_text(re.compile("up|not tried yet"))


def test_a_gateway_that_is_away_is_said_to_be(site: Site, browser: Browser) -> None:
    with opened(browser, site.address) as tab:
        away = tab.page.get_by_role("alert")
        expect(away).to_be_hidden()
        site.gateway.kill()
        expect(away).to_contain_text("The gateway does not answer.")
        site.gateway.start()
        expect(away).to_be_hidden()
        expect(tab.page.get_by_role("heading", level=1)).to_have_text("Takes images")
        assert all("ERR_CONNECTION" in one or "fetch" in one for one in tab.complaints), tab.complaints


def test_it_can_be_looked_at_without_javascript(site: Site, browser: Browser) -> None:
    with opened(browser, site.address, java_script_enabled=False) as tab:
        page = tab.page
        expect(page.locator("#destination-archive .badge")).to_have_text("up")
        page.get_by_role("searchbox").fill(site.uid)
        page.get_by_role("button", name="Trace").click()
        expect(page.locator(".story header")).to_contain_text("Delivered to archive.")
        page.get_by_role("link", name="Overview").click()
        page.get_by_role("button", name="Pause folder").click()
        expect(page.locator("main")).to_contain_text("Nothing more is sent to folder")
        page.get_by_role("link", name="To the overview").click()
        page.get_by_role("button", name="Resume folder").click()
        expect(page.locator("main")).to_contain_text("Images are sent to folder again.")
        assert tab.complaints == []


def test_it_fits_a_phone(site: Site, browser: Browser) -> None:
    with opened(browser, site.address, viewport={"width": 360, "height": 740}) as tab:
        for path in ("/", "/queue?state=delivered", f"/trace?uid={site.uid}", "/audit"):
            tab.page.goto(path)
            assert tab.page.evaluate("document.documentElement.scrollWidth") == 360, path


def test_a_user_logs_in_and_is_named(browser: Browser, tmp_path: Path) -> None:
    users = {
        "anna": {"password_hash": hash_password("let me in"), "scopes": "operate"},
        "rita": {"password_hash": hash_password("only look"), "scopes": "read"},
    }
    block = {"modalities": {"archive": modality(1, "ARCHIVE")}, "rules": [{"rule": "all", "send": "archive"}]}
    with Gateway(tmp_path, block, http={"users": users}) as gateway:
        address = f"http://127.0.0.1:{gateway.http}"
        anna = {"username": "anna", "password": "let me in"}
        with opened(browser, address, http_credentials=anna) as tab:
            expect(tab.page.locator("body > footer")).to_contain_text("anna may look and operate")
            expect(tab.page.get_by_role("button", name="Drain")).to_have_count(0)
            tab.page.get_by_role("button", name="Pause archive").click()
            expect(tab.page.locator("#destination-archive")).to_contain_text("Paused by anna since")
            assert tab.complaints == []
        rita = {"username": "rita", "password": "only look"}
        with opened(browser, address, http_credentials=rita) as tab:
            expect(tab.page.locator("#destination-archive")).to_contain_text("Paused by anna since")
            expect(tab.page.get_by_role("button", name="Resume archive")).to_have_count(0)
