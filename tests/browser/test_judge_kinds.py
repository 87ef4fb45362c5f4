"""The judge screen's kinds of answers, places, languages, earlier answers and rounds of lessons, in a real Chromium."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect
from sqlalchemy import select, update

from backend.catalogue.models import ProjectMember
from backend.judging import attention, service
from backend.judging.models import Assignment, ComparisonKind, Judgment, JudgmentMark
from backend.judging.models_lessons import Qualification
from backend.kit.database import utcnow
from backend.kit.pages import STATIC
from tests.backend.judging.world import World, add_annotator, build
from tests.browser.conftest import renew_login
from tests.browser.test_judge import PAGE, answer, judgments, open_page, ready, saved
from tests.people import add_person, client_of

pytestmark = pytest.mark.browser
HISTORY = "/projects/street-scenes/history"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What the screen does is the same on both databases; the service's own tests run on both."""
    return sqlite_url


def world_of(database, blobs, *, comparisons: int = 4, **options) -> World:
    return build(database, comparisons=comparisons, blobs=blobs, size=32, **options)


def test_places_are_marked_by_mouse_and_by_keys_and_shown_in_the_history(logged_in, database, blobs):
    context = logged_in(add_annotator(database, world_of(database, blobs)))
    page = open_page(context)
    for key in ("ArrowLeft", "s", "r"):
        page.keyboard.press(key)
    page.wait_for_selector(".marking")
    box = page.locator(".frame").nth(1).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.9, steps=4)
    page.mouse.up()
    for key in ("ArrowUp", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".places .over:not(.cross)")).to_have_count(3)
    page.keyboard.press("r")
    answer(page, "Enter")
    saved(page)
    (row,) = judgments(database)
    with database.reading() as session:
        mark = session.scalars(select(JudgmentMark).where(JudgmentMark.mark == "lose")).one()
    point, drawn, by_keys = mark.regions
    assert (row.outcome, mark.shown_position) == ("choice", 1)
    assert point == {"x": pytest.approx(0.25, abs=0.02), "y": pytest.approx(0.5, abs=0.02)}
    assert (drawn["width"], drawn["height"]) == (pytest.approx(0.25, abs=0.02), pytest.approx(0.4, abs=0.02))
    assert by_keys == {"x": 0.5, "y": 0.45}
    page.goto(HISTORY)
    expect(page.locator(".said-frame .places path.over")).to_have_count(2)
    expect(page.locator(".said-frame .places rect.over")).to_have_count(1)


def test_an_earlier_answer_is_changed_from_the_history_and_kept_as_a_revision(logged_in, database, blobs):
    page = open_page(logged_in(add_annotator(database, world_of(database, blobs))))
    answer(page, "ArrowUp")
    saved(page)
    page.goto(HISTORY)
    expect(page.locator(".answer")).to_contain_text("both good")
    page.get_by_role("link", name="Change").click()
    page.wait_for_selector("body[data-editing][data-ready]")
    answer(page, "ArrowDown")
    saved(page)
    (row,) = judgments(database)
    assert (row.outcome, row.revision) == ("both_bad", 2)
    page.goto(HISTORY)
    page.get_by_text("Earlier answers (1)").click()
    expect(page.locator(".earlier li")).to_contain_text("both good")


def test_a_choice_says_how_strongly_where_the_project_asks(logged_in, database, blobs):
    page = open_page(logged_in(add_annotator(database, world_of(database, blobs, settings={"ask_strength": True}))))
    answer(page, "ArrowRight", "Enter")
    ready(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tile").nth(0)).to_contain_text("slightly better")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tile").nth(0)).to_contain_text("clearly better")
    answer(page, "ArrowLeft")
    saved(page)
    assert [row.strength for row in judgments(database)] == [1, 2]


def test_best_and_worst_are_one_each(logged_in, database, blobs):
    options = {"kind": ComparisonKind.WIN_LOSE, "k": 3, "settings": {"best_worst": True}}
    page = open_page(logged_in(add_annotator(database, world_of(database, blobs, comparisons=1, **options))))
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#hint")).to_contain_text("exactly one")
    for key in ("2", "2", "1"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#rest h2")).to_have_text("All done. Thank you!")
    saved(page)
    judgments(database)
    with database.reading() as session:
        marks = session.scalars(select(JudgmentMark).order_by(JudgmentMark.shown_position))
        assert [mark.mark for mark in marks] == ["lose", "win", "none"]


@pytest.mark.parametrize("allowed", [True, False])
def test_an_answer_that_says_nothing_leaves_only_where_the_project_allows_it(logged_in, database, blobs, allowed):
    options = {"kind": ComparisonKind.WIN_LOSE, "k": 3, "settings": {"allow_incomplete": allowed}}
    page = open_page(logged_in(add_annotator(database, world_of(database, blobs, comparisons=1, **options))))
    page.keyboard.press("Enter")
    if allowed:
        expect(page.locator("#rest h2")).to_have_text("All done. Thank you!")
        saved(page)
    else:
        expect(page.locator("#hint")).to_have_text("Nothing is marked yet.")
    assert len(judgments(database)) == int(allowed)


def test_an_arena_tells_its_makers_after_the_vote(logged_in, database, blobs):
    options = {"kind": ComparisonKind.ARENA, "settings": {"reveal_after_vote": True}}
    page = open_page(logged_in(add_annotator(database, world_of(database, blobs, **options))))
    assert "tuned" not in page.content()
    answer(page, "ArrowLeft")
    expect(page.locator("#hint")).to_contain_text(re.compile("last: ✓ 1 · 1: (base|tuned) · 2: (base|tuned)"))
    page.keyboard.press("z")
    expect(page.locator("#hint")).to_contain_text("that vote stands")
    assert len(judgments(database)) == 1


def test_makers_are_told_of_the_vote_they_belong_to(logged_in, database, blobs):
    options = {"kind": ComparisonKind.ARENA, "settings": {"reveal_after_vote": True}}
    page = open_page(logged_in(add_annotator(database, world_of(database, blobs, **options))))
    page.wait_for_load_state("networkidle")
    held = []
    page.route("**/judgment", lambda route: held.append(route))
    with page.expect_request("**/judgment"):
        answer(page, "ArrowLeft")
    answer(page, "ArrowRight")
    with page.expect_request("**/judgment"):
        held[0].continue_()
    ready(page)
    expect(page.locator("#hint")).to_have_text("last: ✓ 2")
    held[1].continue_()
    expect(page.locator("#hint")).to_have_text(re.compile("^last: ✓ 2 · 1: (base|tuned) · 2: (base|tuned)$"))
    saved(page)
    assert len(judgments(database)) == 2


def test_a_closed_laptop_ends_with_one_judgment(logged_in, database, blobs):
    """Asleep for hours: the lease has run out, the network comes back with the lid, the answer still counts, once."""
    context = logged_in(add_annotator(database, world_of(database, blobs)))
    page = open_page(context)
    page.wait_for_load_state("networkidle")
    context.set_offline(True)
    with database.transaction() as session:
        session.execute(update(Assignment).values(lease_expires_at=utcnow() - timedelta(hours=8)))
        # Others ask for work meanwhile, which ends the leases that ran out.
        assert service.expire(session) > 0
    answer(page, "t")
    context.set_offline(False)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    saved(page)
    rows = judgments(database)
    assert [row.outcome for row in rows] == ["tie"]


def test_the_screen_speaks_chinese_to_who_prefers_it(browser, live_server, database, blobs):
    context = browser.new_context(base_url=live_server, locale="zh-CN", viewport={"width": 1024, "height": 768})
    person = add_annotator(database, world_of(database, blobs, comparisons=1))
    renew_login(context, live_server, database, person)
    page = open_page(context)
    assert page.locator("html").get_attribute("lang") == "zh"
    expect(page.locator("#question")).to_have_text("哪一幅里主体的大小、位置和视角更合理？")
    page.keyboard.press("t")
    expect(page.locator("#rest h2")).to_have_text("全部完成，谢谢！")
    page.goto("/account")
    page.get_by_label("语言", exact=True).select_option("en")
    page.get_by_role("button", name="保存").click()
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    page.goto(PAGE)
    expect(page.locator("#rest h2")).to_have_text("All done. Thank you!")
    context.close()


def test_by_keyboard_alone_every_control_has_a_name(logged_in, database, blobs):
    page = open_page(logged_in(add_annotator(database, world_of(database, blobs))))
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, a, input, progress")].filter((each) =>
          !(each.getAttribute("aria-label") || each.innerText?.trim() || each.textContent?.trim() ||
            each.labels?.length))
          .map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    seen = []
    for _ in range(6):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.getAttribute('aria-label') || ''"))
    assert "Candidate 1" in seen and "Candidate 2" in seen
    while page.evaluate("document.activeElement.getAttribute('aria-label')") != "Candidate 1":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#says")).to_have_text("Candidate 1: better")
    expect(page.locator(".pick").nth(0)).to_have_attribute("aria-pressed", "true")


def test_the_first_view_loads_less_than_60_kb_of_our_own_code(logged_in, database, blobs):
    context = logged_in(add_annotator(database, world_of(database, blobs)))
    page = context.new_page()
    loaded = []
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(PAGE)
    # What comes later, once something is shown, is asked for by the screen itself in this order.
    ready(page)
    names = [url.split("/static/")[1].split("?")[0] for url in loaded if "/static/" in url]
    first = names[: names.index("judge/pointer.js")]
    sizes = {name: (STATIC / name).stat().st_size for name in set(first) if name.endswith((".js", ".css"))}
    assert {"judge/judge.js", "css/judge.css"} <= set(sizes)
    assert sum(sizes.values()) < 60_000, sizes


def test_who_has_not_passed_is_led_through_practice_and_test_to_the_work(app, logged_in, database, blobs):
    options = {"verdicts": True, "settings": {"qualification_required": True, "qualification_pass_mark": 50}}
    world = world_of(database, blobs, comparisons=4, **options)
    lead = add_person(database, "lead")
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=lead.id))
    lessons = "/api/v1/projects/street-scenes/lessons/of-verdicts"
    assert client_of(app, lead).post(lessons, json={"practice": 1, "test": 2}).status_code == 201
    page = logged_in(add_annotator(database, world)).new_page()
    page.goto(PAGE)
    page.get_by_role("link", name="To the test").click()
    page.get_by_role("link", name="Practise first").click()
    ready(page)
    for key in ("ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator("#hint")).to_contain_text(re.compile("Right|Not quite"))
    page.keyboard.press("Enter")
    expect(page.locator("#rest h2")).to_have_text("Practice is over")
    page.get_by_role("link", name="Go on").click()
    page.get_by_role("link", name="Begin the test").click()
    shown = ready(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("shown => document.body.dataset.ready && document.body.dataset.ready !== shown", arg=shown)
    # One of the two sides is right for each question; both tried, one half at least is.
    with database.reading() as session:
        first = session.scalars(select(Qualification)).one().correct
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", level=1)).to_have_text("Test")
    with database.reading() as session:
        assert session.scalars(select(Judgment)).all() == []
        taken = session.scalars(select(Qualification)).one()
    assert taken.correct >= first and taken.state == ("passed" if taken.correct else "failed")
    if taken.correct:
        page.get_by_role("link", name="Judge", exact=True).last.click()
        ready(page)
    else:
        expect(page.get_by_role("link", name="Try again")).to_be_visible()


def test_who_is_paused_reads_why_in_their_language(browser, live_server, database, blobs):
    world = world_of(database, blobs)
    person = add_annotator(database, world)
    settings = {"gold_pass_percent": 70, "gold_minimum": 4}
    with database.transaction() as session:
        assert attention.check(session, settings, world.project.id, person.id, 4, 1)
    context = browser.new_context(base_url=live_server, locale="zh-CN")
    renew_login(context, live_server, database, person)
    page = context.new_page()
    page.goto(PAGE)
    expect(page.locator("#rest h2")).to_have_text("评判已暂停")
    expect(page.locator("#rest p").first).to_contain_text("4 道已知答案的题中有 3 道与答案不符")
    context.close()


def test_a_break_is_suggested_after_working_on_end_and_not_after_a_rest(logged_in, database, blobs):
    context = logged_in(add_annotator(database, world_of(database, blobs, comparisons=6)))
    page = context.new_page()
    page.clock.install()
    page.goto(PAGE)
    page.clock.run_for(1000)
    ready(page)

    def work(minutes: int) -> None:
        for _ in range(minutes // 2):
            page.clock.fast_forward(120_000)
            page.keyboard.press("f")

    def judge_one() -> None:
        shown = page.locator("body").get_attribute("data-ready")
        page.keyboard.press("t")
        page.wait_for_function("shown => !document.body.dataset.ready", arg=shown)
        page.wait_for_selector("#stage:not(.stale) .pick")
        page.clock.run_for(1000)
        ready(page)

    work(24)
    judge_one()
    expect(page.locator("#hint")).not_to_contain_text("break")
    work(2)
    judge_one()
    expect(page.locator("#hint")).to_contain_text("25 minutes at a stretch")
    work(24)
    page.clock.fast_forward(600_000)
    page.keyboard.press("f")
    judge_one()
    expect(page.locator("#hint")).not_to_contain_text("break")


def test_on_a_shared_machine_nobody_sends_anothers_answers(logged_in, live_server, database, blobs):
    world = world_of(database, blobs)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    context = logged_in(ann)
    page = open_page(context)
    context.route("**/judgment", lambda route: route.abort())
    answer(page, "t")
    expect(page.locator("#saved")).to_have_text(re.compile("waiting for the network"))
    renew_login(context, live_server, database, ben)
    context.unroute("**/judgment")
    expect(page.locator("#rest h2")).to_have_text("You have been logged out")
    assert judgments(database) == []
    renew_login(context, live_server, database, ann)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(PAGE)
    ready(page)
    saved(page)
    (row,) = judgments(database)
    assert (row.person_id, row.outcome) == (ann.id, "tie")
