"""Label Studio beside us: the same images, annotators and journey, served as its own container serves it.

Its container puts nginx in front of uwsgi with two workers a core. Nothing is sent to anybody: what it reports home is
switched off. A cycle is what its page does for one task: ask for the next, fetch its four images, send the annotation.
"""

import asyncio
import getpass
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from backend.kit.blobs import LocalBlobs
from bench._web_client import Connection, Tally
from bench._web_seed import draw_images
from tests.services import find_binary, free_port

SEED = Path(__file__).with_name("_label_studio_seed.py")
WORKERS_A_CORE = 2
PICTURES = ("left", "right", "subject", "mask")
# Reading its many modules takes each worker a while where two cores are shared by four.
START_SECONDS = 180

UWSGI = """[uwsgi]
home = {environment}
chdir = {package}
module = core.wsgi:application
http-socket = 127.0.0.1:{port}
master = true
single-interpreter = true
lazy-apps = true
need-app = true
processes = {workers}
threads = 1
enable-threads = true
thunder-lock = true
listen = 1024
buffer-size = 65535
post-buffering = 4096
harakiri = 120
max-requests = 5000
disable-logging = true
die-on-term = true
vacuum = true
"""
NGINX = """{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    keepalive_requests 1000000;
    client_max_body_size 350m;
    location / {{
      proxy_read_timeout 300;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_pass http://127.0.0.1:{upstream}/;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Installed:
    """An environment (a folder made by venv) that holds the packages `label-studio` and `uwsgi`, and what it needs."""

    environment: Path
    package: Path
    nginx: str

    @property
    def python(self) -> str:
        return str(self.environment / "bin" / "python")


def find(environment: Path) -> Installed:
    """Raises SystemExit with what is missing."""
    packages = sorted(environment.glob("lib/python*/site-packages/label_studio"))
    nginx = find_binary("nginx", folders=("/usr/sbin", "/usr/local/sbin"))
    missing = [
        *([] if packages else ["label-studio"]),
        *([] if (environment / "bin" / "uwsgi").exists() else ["uwsgi"]),
        *([] if nginx else ["nginx (of the system)"]),
    ]
    if missing:
        raise SystemExit(f"{environment} cannot serve Label Studio: install {', '.join(missing)}.")
    return Installed(environment.resolve(), packages[0].resolve(), str(nginx))


def variables(installed: Installed, database: URL, folder: Path) -> dict[str, str]:
    """What its processes read from their environment."""
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "core.settings.label_studio",
        "DJANGO_DB": "default",
        "POSTGRE_NAME": str(database.database),
        "POSTGRE_USER": str(database.username),
        "POSTGRE_PASSWORD": database.password or "",
        "POSTGRE_HOST": str(database.host),
        "POSTGRE_PORT": str(database.port),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(installed.package),
        "APP_WEBSERVER": "uwsgi",
        "DEBUG": "false",
        "LOG_LEVEL": "ERROR",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }


def _run(installed: Installed, environment: dict[str, str], command: list[str], given: str = "") -> str:
    done = subprocess.run(
        [installed.python, *command],
        input=given,
        capture_output=True,
        text=True,
        cwd=installed.package,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"Label Studio cannot be prepared:\n{done.stderr[-2000:]}")
    return done.stdout


def prepare(
    installed: Installed, database: URL, folder: Path, *, tasks: int, annotators: int, pixels: int
) -> dict[str, Any]:
    """Migrates and fills an empty database; {project id, cookies}, which are also kept in `folder`."""
    environment = variables(installed, database, folder)
    (folder / "data").mkdir(parents=True)
    _run(installed, environment, ["manage.py", "migrate", "--verbosity", "0"])
    blobs = LocalBlobs(folder / "pictures")
    scenes, cutouts, masks, _ = draw_images(blobs, pixels)
    images = {"scenes": scenes, "cutouts": cutouts, "masks": masks}
    given = {
        "images": {kind: [str(blobs.path(each)) for each in digests] for kind, digests in images.items()},
        "tasks": tasks,
        "annotators": annotators,
    }
    # It greets on standard output; what was asked for is the last line.
    said = _run(installed, environment, [str(SEED)], json.dumps(given)).splitlines()[-1]
    (folder / "seeded.json").write_text(said)
    seeded: dict[str, Any] = json.loads(said)
    return seeded


@contextmanager
def serving(installed: Installed, database: URL, folder: Path) -> Iterator[tuple[int, list[int]]]:
    """The port of nginx, and the ids of the two processes whose children serve."""
    port, upstream = free_port(), free_port()
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    workers = WORKERS_A_CORE * (os.cpu_count() or 1)
    uwsgi_settings, nginx_settings = folder / "uwsgi.ini", folder / "nginx.conf"
    uwsgi_settings.write_text(
        UWSGI.format(environment=installed.environment, package=installed.package, port=upstream, workers=workers)
    )
    nginx_settings.write_text(NGINX.format(user=user, folder=folder, port=port, upstream=upstream))
    commands = (
        [str(installed.environment / "bin" / "uwsgi"), "--ini", str(uwsgi_settings)],
        [installed.nginx, "-p", str(folder), "-c", str(nginx_settings), "-g", "daemon off;"],
    )
    processes = []
    try:
        with (folder / "served.log").open("wb") as log:
            for command in commands:
                processes.append(
                    subprocess.Popen(
                        command, env=variables(installed, database, folder), stdout=log, stderr=log, cwd=folder
                    )
                )
        _wait_until_ready(port, processes, folder / "served.log")
        yield port, [process.pid for process in processes]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(port: int, processes: list[subprocess.Popen[bytes]], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=START_SECONDS):
                return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.5)
    raise SystemExit(f"Label Studio did not become ready:\n{log.read_text()[-3000:]}")


@dataclass(frozen=True)
class Annotator:
    """One annotator of Label Studio, with what the page sends for each task."""

    number: int
    cookie: str
    port: int
    project: int

    def head(self, method: str, path: str, body: bytes = b"") -> bytes:
        lines = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncookie: sessionid={self.cookie}\r\n"
        if body:
            lines += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return f"{lines}\r\n".encode() + body

    async def work(self, tally: Tally, warm: float, until: float) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
        turn = self.number
        while time.perf_counter() < until:
            await self._cycle(connection, tally, warm, until, turn)
            turn += 1
        connection.close()

    async def _cycle(self, connection: Connection, tally: Tally, warm: float, until: float, turn: int) -> None:
        async def ask(step: str, good: int, request: bytes) -> bytes | None:
            began = time.perf_counter()
            status, body = await connection.send(request)
            tally.record(step, began, time.perf_counter(), warm, until)
            if status != good:
                tally.note(f"{step} {status}: {body[:200]!r}")
            return body if status == good else None

        began = time.perf_counter()
        said = await ask("next", 200, self.head("GET", f"/api/projects/{self.project}/next"))
        if said is None:
            await asyncio.sleep(0.05)
            return
        task = json.loads(said)
        for name in PICTURES:
            # Where a cycle takes half a minute, its rest is not worth waiting for.
            if time.perf_counter() < until:
                await ask("image", 200, self.head("GET", task["data"][name]))
        value = {"selected": ("left", "right")[turn % 2]}
        marks = [{"from_name": "better", "to_name": "left,right", "type": "pairwise", "value": value}]
        body = json.dumps({"result": marks, "lead_time": 4.2}).encode()
        path = f"/api/tasks/{task['id']}/annotations/?project={self.project}"
        if time.perf_counter() < until and await ask("submit", 201, self.head("POST", path, body)) is not None:
            ended = time.perf_counter()
            tally.answered += warm <= ended <= until
            tally.record("cycle", began, ended, warm, until)
