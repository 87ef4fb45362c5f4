"""Guidelines: Markdown by a project's leads, shown as safe HTML."""

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

TAGS = {
    "a", "blockquote", "br", "code", "dd", "del", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4",
    "hr", "img", "li", "ol", "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt", "title", "width", "height"}, "ol": {"start"}}
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])


def _own_images_only(tag: str, attribute: str, value: str) -> str | None:
    """Drops an image from elsewhere: it would tell its host who reads, and the browser blocks it anyway."""
    if tag == "img" and attribute == "src" and not (value.startswith("/") and not value.startswith("//")):
        return None
    return value


def render_markdown(markdown: str) -> Markup:
    """HTML of CommonMark with tables; scripts, styles, raw HTML and images from elsewhere do not survive."""
    html = nh3.clean(
        _MARKDOWN.render(markdown),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_own_images_only,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
    )
    return Markup(html)
