"""Fills a migrated Label Studio with a project of image pairs; runs in Label Studio's own environment.

Reads JSON from standard input (`images`: paths by kind, `tasks`, `annotators`) and prints what a load needs as JSON:
the project's id and one session cookie an annotator. Written for Label Studio 1.23; the tasks are those of
bench/_web_seed.py: two scenes, a cut-out and a mask, one annotation each.
"""

# Django's models can be imported after its setup only.
# ruff: noqa: E402

import itertools
import json
import sys
import time
from pathlib import Path

import django

django.setup()

from data_import.models import FileUpload
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.files import File
from organizations.models import Organization
from projects.models import Project
from tasks.models import Task
from users.models import User

PAIRWISE = """<View>
  <Pairwise name="better" toName="left,right"/>
  <Image name="left" value="$left"/><Image name="right" value="$right"/>
  <Image name="subject" value="$subject"/><Image name="mask" value="$mask"/>
</View>"""
GENERATORS, SUBJECTS, BATCH = 5, 500, 5000
PAIRS = tuple(itertools.combinations(range(1, GENERATORS + 1), 2))


def people(count: int) -> tuple[list[User], Organization]:
    """One account more than annotators: the first owns the organization."""
    users = [User(email=f"person{n}@example.org", username=f"person{n}") for n in range(count + 1)]
    for user in users:
        user.set_unusable_password()
        user.save()
    organization = Organization.create_organization(created_by=users[0], title="Bench")
    for user in users:
        organization.add_user(user)
        user.active_organization = organization
        user.save()
    return users[1:], organization


def cookie_of(user: User) -> str:
    """What a login would set."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["last_login"] = time.time()
    session.save()
    return str(session.session_key)


def upload(paths: list[str], project: Project, owner: User) -> list[str]:
    """Addresses under which Label Studio serves the files."""
    addresses = []
    for path in paths:
        with Path(path).open("rb") as file:
            stored = FileUpload(user=owner, project=project)
            stored.file.save(Path(path).name + ".png", File(file), save=True)
        addresses.append(stored.url)
    return addresses


def tasks(project: Project, count: int, scenes: list[str], cutouts: list[str], masks: list[str]) -> None:
    def task(n: int) -> Task:
        condition, place = divmod(n - 1, len(PAIRS))
        left, right = (scenes[((condition + 1) * 7 + g) % len(scenes)] for g in PAIRS[place])
        subject = cutouts[(condition % SUBJECTS + 1) % len(cutouts)]
        data = {"left": left, "right": right, "subject": subject, "mask": masks[condition % len(masks)]}
        return Task(project=project, data=data, overlap=1, inner_id=n)

    for first in range(1, count + 1, BATCH):
        Task.objects.bulk_create([task(n) for n in range(first, min(first + BATCH, count + 1))], batch_size=1000)


def main() -> None:
    given = json.load(sys.stdin)
    annotators, organization = people(given["annotators"])
    owner = organization.created_by
    project = Project.objects.create(
        title="Bench", label_config=PAIRWISE, created_by=owner, organization=organization, maximum_annotations=1
    )
    addresses = [upload(given["images"][kind], project, owner) for kind in ("scenes", "cutouts", "masks")]
    tasks(project, given["tasks"], *addresses)
    print(json.dumps({"project": project.pk, "cookies": [cookie_of(user) for user in annotators]}))


if __name__ == "__main__":
    main()
