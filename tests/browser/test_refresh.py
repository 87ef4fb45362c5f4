"""A page that follows jobs: neither a passing error page nor a job's end takes away what somebody fills in."""

import pytest
from playwright.sync_api import Browser, Page, Route, expect

pytestmark = pytest.mark.browser
FORM = '<form><input name="limit" value="4"><select name="kind"><option>a<option selected>b</select></form>'
SCRIPT = '<script type="module" src="/static/catalogue/refresh.js"></script>'
AT_WORK = f'<section id="at-work" data-refresh="/jobs-here">half</section>{FORM}{SCRIPT}'
DONE = f"<h1>Done</h1>{FORM}"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


class Server:
    """Answers for the page in the place of the service."""

    def __init__(self) -> None:
        self.status, self.body, self.asked = 200, AT_WORK, 0

    def answer(self, route: Route) -> None:
        self.asked += 1
        route.fulfill(status=self.status, content_type="text/html", body=self.body)


def look(page: Page) -> None:
    with page.expect_response("**/jobs-here"):
        pass
    page.wait_for_timeout(200)


def test_an_error_page_passes_and_a_form_is_waited_for(browser: Browser, live_server: str):
    page = browser.new_page(base_url=live_server)
    server = Server()
    page.route("**/jobs-here", server.answer)
    page.goto("/jobs-here")
    server.status, server.body = 502, "<h1>Bad gateway</h1>"
    look(page)
    expect(page.locator("#at-work")).to_have_text("half")
    server.status, server.body = 200, DONE
    page.locator("input").fill("7")
    look(page)
    page.locator("input").blur()
    look(page)
    expect(page.locator("input")).to_have_value("7")
    expect(page.locator("#at-work")).to_have_text("half")
    page.locator("input").fill("4")
    page.locator("input").blur()
    expect(page.locator("h1")).to_have_text("Done")
    page.close()
