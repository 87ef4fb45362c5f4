"""A project's guidelines: Markdown by leads, HTML without anything that could run."""

from backend.catalogue.guidelines import render_markdown

DEFAULT_GUIDELINES = """\
You see one subject, placed several times into a generated background. Judge **where and how it stands**, not how
pretty the picture is.

Ask of each image, in this order:

1. **Scale.** Compare the subject with what is around it and with its distance. Could it really be this big, or this
   small, there?
2. **Position.** What carries it? A car needs ground, a boat needs water. Nothing floats, sinks in or stands on the
   horizon.
3. **Viewpoint.** Is the subject seen from the same height and angle as the ground it stands on?

An image **wins** when all three hold, and **loses** when one clearly does not. Say which by a key. When two images
are equally good, it is a tie; when neither could be a real place, both are bad. If you cannot tell, skip: a guess is
worth less than nothing.
"""


def render_guidelines(markdown: str) -> str:
    """Safe HTML of the guidelines; the house's own where a project has none."""
    return render_markdown(markdown.strip() or DEFAULT_GUIDELINES)
