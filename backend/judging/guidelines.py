"""A project's guidelines: Markdown by leads, HTML without anything that could run."""

from backend.catalogue.guidelines import render_markdown
from backend.kit.languages import words


def render_guidelines(markdown: str) -> str:
    """Safe HTML of the guidelines; the house's own, in the page's language, where a project has none."""
    return render_markdown(markdown.strip() or words("guidelines.default"))
