"""The files a grown installation starts from agree with the code, and hold no secret."""

import json
import re
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from moto.server import ThreadedMotoServer
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from typer.testing import CliRunner

from backend.cli import app
from backend.cli_web import configured
from backend.kit.blobs import S3Blobs
from backend.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[3]
SECRETS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}


def read(name: str) -> str:
    return (REPOSITORY / name).read_text()


def test_every_setting_is_explained_with_its_default() -> None:
    shown = dict(re.findall(r"^#?INPAINTDPO_([A-Z0-9_]+)=(.*)$", read(".env.example"), re.MULTILINE))
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    assert set(shown) == set(fields)
    for name, field in fields.items():
        if field.default not in (None, ""):
            assert shown[name] == _written(field.default), name


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_example_holds_no_secret() -> None:
    values = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", read(".env.example"), re.MULTILINE))
    assert set(values) == SECRETS
    assert set(values.values()) == {""}


def test_every_secret_of_the_composition_is_required() -> None:
    text = read("docker-compose.yml")
    for secret in SECRETS:
        uses = re.findall(rf"(?<!\$)\$\{{{secret}(.*?)\}}", text)
        assert uses and all(use.startswith(":?") for use in uses), secret


def test_the_composition_is_whole() -> None:
    document = yaml.safe_load(read("docker-compose.yml"))
    services = document["services"]
    assert set(services) == {"web", "worker-cpu", "worker-gpu", "migrate", "bucket", "postgres", "redis", "s3"}
    once = {"migrate", "bucket"}
    for name, service in services.items():
        assert name in once or "healthcheck" in service, name
        for other in service.get("depends_on", {}):
            assert other in services
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in document["volumes"]
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    # What .env sets reaches every service of ours, not only what the composition names.
    assert all("env_file" in service for service in services.values() if "build" in service)
    known = {f"INPAINTDPO_{name.upper()}" for name in Settings.model_fields}
    ours = {name for name in services["web"]["environment"] if name.startswith("INPAINTDPO_")}
    assert ours <= known
    runner = CliRunner()
    for name in ("web", "worker-cpu", "worker-gpu", "migrate", "bucket"):
        command, *_ = services[name]["command"]
        assert runner.invoke(app, [command, "--help"]).exit_code == 0


@pytest.mark.parametrize(("proxies", "seen"), [("10.0.0.0/8", "203.0.113.7"), ("127.0.0.1,::1", "10.0.0.9")])
def test_a_visitors_address_is_taken_from_trusted_proxies_only(proxies: str, seen: str) -> None:
    addresses = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        addresses.append(scope["client"][0])
        await PlainTextResponse("")(scope, receive, send)

    config = configured(app, Settings(trusted_proxies=proxies))
    config.load()
    client = TestClient(config.loaded_app, client=("10.0.0.9", 50_000))
    client.get("/", headers={"x-forwarded-for": "203.0.113.7"})
    assert addresses == [seen]


def test_the_images_run_without_root() -> None:
    stages = re.split(r"^FROM ", read("Dockerfile"), flags=re.MULTILINE)[1:]
    assert {"web", "trainer"} <= {stage.split()[2] for stage in stages}
    (base,) = (stage for stage in stages if stage.split()[2] == "base")
    assert "\nUSER inpaintdpo\n" in base


def test_a_missing_bucket_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("INPAINTDPO_BLOB_URL", "s3://new-bucket/prefix")
        monkeypatch.setenv("INPAINTDPO_S3_ENDPOINT_URL", f"http://{host}:{port}")
        runner = CliRunner()
        assert "is made" in runner.invoke(app, ["bucket"]).output
        assert "Nothing to do" in runner.invoke(app, ["bucket"]).output
        S3Blobs("new-bucket", "prefix", f"http://{host}:{port}").check()
    finally:
        server.stop()


def test_the_doctor_answers_programs_in_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INPAINTDPO_HOME", str(tmp_path / "home"))
    runner = CliRunner()
    answer = runner.invoke(app, ["doctor", "--json"])
    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["ok"]) == (1, False)
    assert {check["name"]: check["level"] for check in document["checks"]}["database"] == "bad"
    assert "there already" not in runner.invoke(app, ["migrate"]).output
    assert "there already" in runner.invoke(app, ["migrate"]).output
    answer = runner.invoke(app, ["doctor", "--json"])
    assert (answer.exit_code, json.loads(answer.stdout)["ok"]) == (0, True)


@pytest.mark.parametrize("command", ["up", "web", "worker", "migrate", "doctor", "bucket"])
def test_every_command_explains_itself(command: str) -> None:
    answer = CliRunner().invoke(app, [command, "--help"])
    assert answer.exit_code == 0
    assert len(answer.output) > 200
