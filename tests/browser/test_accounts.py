"""Coming in, and the pages of accounts and administration, in a real browser."""

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.accounts import login, service
from backend.accounts.models import Role
from backend.accounts.schemas import TokenIn
from backend.accounts.throttle import Throttle
from backend.kit.database import Database
from tests.browser.conftest import LogIn, renew_login
from tests.people import add_person

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

# A page may be slow on a machine that is doing something else.
expect.set_options(timeout=20_000)

PASSWORD = "correct horse battery"
PAGES = ("/", "/people", "/people/1", "/invitations", "/tokens", "/audit", "/account", "/reference", "/jobs", "/system")


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "throttle", Throttle())


def errors_of(page: Page) -> list[str]:
    """Collects what the page complains of: blocked content, exceptions, failed loads."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def test_the_first_admin_comes_in_sets_a_password_and_comes_back(
    browser: Browser, live_server: str, database: Database
) -> None:
    with database.transaction() as session:
        link = service.ensure_first_admin(session)
    page = browser.new_context(base_url=live_server).new_page()
    errors = errors_of(page)
    page.goto(link)
    expect(page.get_by_role("button", name="Log in as Admin")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Set a password").click()
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password again").fill(PASSWORD)
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_role("status").filter(has_text="Your new password is set")).to_be_visible()
    expect(page.get_by_text("A one-time link let you in")).to_have_count(0)

    page.locator("summary", has_text="Account of").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Email").fill(service.FIRST_ADMIN_EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Projects")
    assert errors == []


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_pages_fit_their_window_and_are_named_for_screen_readers(
    logged_in: LogIn, database: Database, width: int, height: int
) -> None:
    admin = add_person(database, Role.ADMIN, name="Johanna van der Westhuizen-Sarkozy-Lindqvist")
    add_person(database, Role.ANNOTATOR, name="Simulated annotator 1", is_simulated=True)
    with database.transaction() as session:
        service.create_token(session, admin, TokenIn(name="a-rather-long-name-" * 4, scopes=["read", "admin"]))
    page = logged_in(admin, width=width, height=height).new_page()
    page.set_default_timeout(30_000)
    errors = errors_of(page)
    for path in PAGES:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.locator("h1").count() == 1, path
        unnamed = page.locator("input:not([type=hidden]), select, textarea").evaluate_all(
            "fields => fields.filter(f => !f.labels?.length && !f.ariaLabel).map(f => f.outerHTML)"
        )
        assert unnamed == [], path
    assert errors == []


def test_a_page_that_stayed_open_while_its_reader_logged_in_again_still_works(
    logged_in: LogIn, live_server: str, database: Database
) -> None:
    person = add_person(database)
    context = logged_in(person)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto("/account")
    renew_login(context, live_server, database, person)
    answer = page.evaluate(
        "import('/static/js/http.js').then(http => http.request('PATCH', '/api/v1/me', { name: 'Mira' }))"
    )
    assert answer["name"] == "Mira"


def test_logging_in_needs_no_script(browser: Browser, live_server: str, database: Database) -> None:
    with database.transaction() as session:
        service.create_person(session, None, name="Mira", email="mira@example.org", password=PASSWORD)
    page = browser.new_context(base_url=live_server, java_script_enabled=False).new_page()
    page.goto("/account")
    page.get_by_label("Email").fill("mira@example.org")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The email or the password is wrong")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Account")
