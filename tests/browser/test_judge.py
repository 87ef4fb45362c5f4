"""The judge screen in a real Chromium: by keys, through lost networks, double clicks, two windows, lost sessions.

Each ends with exactly one judgment for what was judged.
"""

import re
from collections import Counter
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete, select

from backend.accounts.models import LoginSession
from backend.judging import service
from backend.judging.models import Comparison, ComparisonKind, Judgment, JudgmentRevision
from backend.kit.database import Database, utcnow
from tests.backend.judging.world import World, add_annotator, build, counters_hold
from tests.browser.conftest import renew_login

pytestmark = pytest.mark.browser
PAGE = "/projects/street-scenes/judge"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What the screen does is the same on both databases; the service's own tests run on both."""
    return sqlite_url


@pytest.fixture
def world(database: Database, blobs) -> World:
    return build(database, comparisons=10, blobs=blobs, size=32)


def open_page(context) -> Page:
    page = context.new_page()
    page.goto(PAGE)
    ready(page)
    return page


def ready(page: Page) -> str:
    """Waits until a comparison is shown and takes keys; which one it is."""
    page.wait_for_selector("body[data-ready]")
    return page.locator("body").get_attribute("data-ready") or ""


def answer(page: Page, *keys: str) -> None:
    """Answers what is shown by these keys and waits until it has left the screen."""
    shown = ready(page)
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("shown => document.body.dataset.ready !== shown", arg=shown)


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text(re.compile("saved"))


def judgments(database: Database) -> list[Judgment]:
    with database.reading() as session:
        counters_hold(session)
        rows = list(session.scalars(select(Judgment).order_by(Judgment.id)))
        assert max(Counter(row.comparison_id for row in rows).values(), default=1) == 1
        return rows


def test_ten_items_by_keys_and_then_the_end(logged_in, database, world):
    page = open_page(logged_in(add_annotator(database, world)))
    for keys in (["ArrowLeft", "ArrowLeft"], ["t"], ["b"], ["s", "ArrowRight"], ["ArrowRight", "v", "Enter"]) * 2:
        answer(page, *keys)
    expect(page.locator("#rest h2")).to_have_text("All done. Thank you!")
    saved(page)
    rows = judgments(database)
    assert Counter(row.outcome for row in rows) == {"choice": 6, "tie": 2, "both_bad": 2}
    with database.reading() as session:
        assert set(session.scalars(select(Comparison.state))) == {"complete"}


def test_undo_goes_back_across_items_and_keeps_what_was_said(logged_in, database, world):
    page = open_page(logged_in(add_annotator(database, world)))
    answer(page, "t")
    second = ready(page)
    answer(page, "z")
    assert ready(page) != second
    expect(page.locator("body")).to_have_attribute("data-editing", "")
    answer(page, "b")
    assert ready(page) == second
    saved(page)
    (row,) = judgments(database)
    assert (row.outcome, row.revision) == ("both_bad", 2)
    with database.reading() as session:
        assert session.scalars(select(JudgmentRevision)).one().answer["outcome"] == "tie"


def test_nothing_is_lost_without_a_network(logged_in, database, world):
    context = logged_in(add_annotator(database, world))
    page = open_page(context)
    answer(page, "t")
    saved(page)
    page.wait_for_load_state("networkidle")
    context.set_offline(True)
    answer(page, "t")
    answer(page, "b")
    expect(page.locator("#saved")).to_have_text(re.compile(r"waiting for the network \(2\)"))
    assert len(judgments(database)) == 1
    context.set_offline(False)
    saved(page)
    assert [row.outcome for row in judgments(database)] == ["tie", "tie", "both_bad"]


def test_answers_survive_a_reload_before_they_were_sent(logged_in, database, world):
    context = logged_in(add_annotator(database, world))
    page = open_page(context)
    context.route("**/judgment", lambda route: route.abort())
    answer(page, "t")
    expect(page.locator("#saved")).to_have_text(re.compile(r"waiting for the network \(1\)"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    ready(page)
    assert judgments(database) == []
    context.unroute("**/judgment")
    saved(page)
    assert [row.outcome for row in judgments(database)] == ["tie"]


def test_a_double_click_and_a_held_key_answer_once(logged_in, database, world):
    page = open_page(logged_in(add_annotator(database, world)))
    page.locator("#tie").dblclick()
    saved(page)
    ready(page)
    page.keyboard.down("b")
    for _ in range(5):
        page.keyboard.down("b")
    page.keyboard.up("b")
    saved(page)
    assert [row.outcome for row in judgments(database)] == ["tie", "both_bad"]


def test_a_lost_response_is_not_a_second_judgment(logged_in, database, world):
    context = logged_in(add_annotator(database, world))
    page = open_page(context)
    lost = []

    def lose_the_first_response(route):
        if lost:
            route.continue_()
            return
        lost.append(route.fetch())
        route.abort()

    context.route("**/judgment", lose_the_first_response)
    answer(page, "t")
    saved(page)
    assert len(lost) == 1 and len(judgments(database)) == 1


def test_two_windows_judge_each_item_once(logged_in, database, world):
    context = logged_in(add_annotator(database, world))
    first = open_page(context)
    answer(first, "t")
    second = context.new_page()
    second.goto(PAGE)
    expect(second.locator("#rest h2")).to_have_text("You are judging in another window")
    second.get_by_role("button", name="Judge here instead").click()
    ready(second)
    expect(first.locator("#rest h2")).to_have_text("You are judging in another window")
    answer(second, "b")
    first.get_by_role("button", name="Judge here instead").click()
    ready(first)
    answer(first, "t")
    saved(first)
    assert len(judgments(database)) >= 2


def test_an_expired_session_loses_no_answer(logged_in, live_server, database, world):
    person = add_annotator(database, world)
    context = logged_in(person)
    page = open_page(context)
    with database.transaction() as session:
        session.execute(delete(LoginSession))
    answer(page, "t")
    expect(page.locator("#rest h2")).to_have_text("You have been logged out")
    expect(page.get_by_role("link", name="Log in again")).to_have_attribute("href", re.compile("/login"))
    assert judgments(database) == []
    renew_login(context, live_server, database, person)
    page.goto(PAGE)
    ready(page)
    saved(page)
    assert [row.outcome for row in judgments(database)] == ["tie"]


def test_a_lease_lost_to_time_says_so_and_goes_on(logged_in, database, world):
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    context = logged_in(ann)
    page = open_page(context)
    later = utcnow() + timedelta(hours=1)
    with database.transaction() as session:
        taken = service.claim(session, world.project, ben, count=10, lease_seconds=600, now=later)
        assert len(taken.rows) == 10
    answer(page, "t")
    expect(page.locator("#toast")).to_be_visible()
    expect(page.locator("#rest h2")).to_have_text("Nothing free right now")
    saved(page)
    assert judgments(database) == []


def test_win_lose_by_touch_on_a_phone(browser, live_server, database, blobs):
    world = build(database, comparisons=1, kind=ComparisonKind.WIN_LOSE, k=3, blobs=blobs, size=32)
    context = browser.new_context(
        base_url=live_server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    renew_login(context, live_server, database, add_annotator(database, world))
    page = open_page(context)
    for tile, taps in ((0, 1), (1, 2)):
        for _ in range(taps):
            page.locator(".pick").nth(tile).tap()
    expect(page.locator(".tile").nth(1)).to_contain_text("lose")
    page.locator("[data-reason=position]").tap()
    page.locator("#send").tap()
    expect(page.locator("#rest h2")).to_have_text("All done. Thank you!")
    saved(page)
    (row,) = judgments(database)
    assert row.outcome == "marks"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_each_answer_brings_the_next_without_asking_apart(logged_in, database, blobs):
    world = build(database, comparisons=60, blobs=blobs, size=32)
    page = logged_in(add_annotator(database, world)).new_page()
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.goto(PAGE)
    ready(page)
    for _ in range(6):
        answer(page, "t")
    saved(page)
    assert len(judgments(database)) == 6
    # A claim at the start; more only where an answer found nothing behind the place it looked at.
    assert sum(url.endswith("/assignments") for url in sent) <= 3


def test_enter_on_the_way_back_follows_it_and_answers_nothing(logged_in, database, world):
    page = open_page(logged_in(add_annotator(database, world)))
    page.keyboard.press("ArrowLeft")
    page.locator(".home").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects/street-scenes")
    assert judgments(database) == []


def test_a_proxys_sign_in_page_is_not_taken_for_an_answer(logged_in, database, world):
    context = logged_in(add_annotator(database, world))
    context.route("**/assignments", lambda route: route.fulfill(content_type="text/html", body="<h1>Sign in</h1>"))
    page = context.new_page()
    page.goto(PAGE)
    go = page.locator("#rest button.go")
    expect(go).to_be_visible()
    context.unroute("**/assignments")
    go.click()
    ready(page)
    context.route("**/judgment", lambda route: route.fulfill(content_type="text/html", body="<h1>Sign in</h1>"))
    answer(page, "t")
    expect(page.locator("#saved")).to_have_text(re.compile(r"waiting for the network \(1\)"))
    assert judgments(database) == []
    context.unroute("**/judgment")
    saved(page)
    assert [row.outcome for row in judgments(database)] == ["tie"]


def test_a_connection_that_drops_after_the_headers_is_tried_again(logged_in, database, world):
    page = open_page(logged_in(add_annotator(database, world)))
    page.wait_for_load_state("networkidle")
    page.evaluate(
        """() => {
            const { text } = Response.prototype;
            Response.prototype.text = function () {
                Response.prototype.text = text;
                return Promise.reject(new TypeError("network error"));
            };
        }"""
    )
    answer(page, "t")
    saved(page)
    assert [row.outcome for row in judgments(database)] == ["tie"]


def test_an_answer_after_a_weekend_counts(logged_in, database, world):
    page = logged_in(add_annotator(database, world)).new_page()
    page.clock.install()
    page.goto(PAGE)
    ready(page)
    page.clock.fast_forward(72 * 3_600_000)
    answer(page, "t")
    saved(page)
    (row,) = judgments(database)
    assert (row.outcome, row.seconds) == ("tie", 86_400)


def lose(page: Page, shown: str) -> None:
    """The service says at the next look that the lease of what is shown has gone."""

    def without(route):
        response = route.fetch()
        body = response.json()
        body["lost"].append(int(shown))
        route.fulfill(response=response, json=body)

    page.route("**/assignments", without, times=1)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#toast")).to_be_visible()


def test_a_lease_lost_in_a_pause_leaves_the_pause(logged_in, database, world):
    page = open_page(logged_in(add_annotator(database, world)))
    page.wait_for_load_state("networkidle")
    shown = ready(page)
    page.keyboard.press("Escape")
    expect(page.locator("#rest .go")).to_be_visible()
    lose(page, shown)
    page.wait_for_timeout(500)
    expect(page.locator("#rest .sign")).to_be_visible()
    expect(page.locator("#stage")).to_be_hidden()
    page.locator("#rest .go").click()
    assert ready(page) != shown
    answer(page, "t")
    saved(page)
    assert len(judgments(database)) == 1


def test_words_typed_while_a_lease_is_lost_answer_nothing(logged_in, database, world):
    page = open_page(logged_in(add_annotator(database, world)))
    page.wait_for_load_state("networkidle")
    shown = ready(page)
    page.keyboard.press("o")
    page.keyboard.type("the boat ")
    lose(page, shown)
    expect(page.locator("#rest .sign")).to_be_visible()
    page.keyboard.type("bobs, tilts x1 t")
    page.wait_for_timeout(500)
    expect(page.locator("#rest .sign")).to_be_visible()
    page.keyboard.press("Enter")
    assert ready(page) != shown
    expect(page.locator("#row-answer")).to_be_visible()
    assert judgments(database) == []


def test_a_warning_leaves_the_keys_and_the_guide_on_a_phones_screen(logged_in, database, world):
    context = logged_in(add_annotator(database, world), width=390, height=844)
    page = open_page(context)
    page.wait_for_load_state("networkidle")
    context.set_offline(True)
    answer(page, "t")
    expect(page.locator("#saved")).to_have_text(re.compile("waiting for the network"))
    expect(page.locator("#pace")).to_be_hidden()
    expect(page.locator("#open-guide")).to_be_in_viewport(ratio=1)
