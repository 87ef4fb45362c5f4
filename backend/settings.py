"""Every setting of the service, read from ``INPAINTDPO_*`` environment variables."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One configuration of the service; only URLs differ between its embedded and its grown size."""

    model_config = SettingsConfigDict(env_prefix="INPAINTDPO_", env_file=".env", extra="ignore")

    home: Path = Field(Path("var"), description="Folder of everything the service writes locally.")
    host: str = Field("127.0.0.1", description="Address the web server binds to.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the web server; 0 lets the system choose.")
    public_url: str | None = Field(None, description="URL people use, when a proxy stands in front.")
    trusted_proxies: str = Field(
        "127.0.0.1,::1", description="Proxies in front whose word of a visitor's address is taken, comma-separated."
    )
    database_url: str | None = Field(None, description="SQLAlchemy URL; SQLite under HOME when empty.")
    broker_url: str | None = Field(None, description="Celery broker; a folder under HOME when empty.")
    blob_url: str | None = Field(None, description="s3://bucket/prefix or file:///path; HOME/blobs when empty.")
    s3_endpoint_url: str | None = Field(None, description="Endpoint of an S3-compatible server other than AWS.")
    demo: bool = Field(True, description="Fill an empty database with the SpatialWorld demo project.")
    # With eight images each, 400 conditions give the demo's training thousands of pairs, drawn in a few minutes.
    demo_conditions: int = Field(400, ge=20, le=5000, description="How many conditions the demo project gets.")
    log_format: Literal["console", "json"] = "console"
    # Twelve hours: an annotator's working day, so that nobody is thrown out in the middle of one.
    login_session_hours: int = Field(12, ge=1)
    # Long enough for a hard comparison, short enough that an absent person's item returns within a coffee break.
    assignment_lease_seconds: int = Field(300, ge=5)
    # A worker renews every third of this; three missed renewals mean it is gone.
    job_lease_seconds: int = Field(30, ge=2)
    # Workers also look into the table by themselves; a lost message costs this much time.
    job_poll_seconds: float = Field(2.0, gt=0)
    # Jobs one worker process runs at a time: snapshots and imports use one core each, a GPU serves one job.
    cpu_slots: int = Field(2, ge=1)
    gpu_slots: int = Field(1, ge=1)
    extra_task_modules: str = Field("", description="Further modules that declare job handlers, comma-separated.")
    broker_prefix: str = Field("inpaintdpo:", description="Key prefix on a Redis that several services share.")
    # Redis hands an unacknowledged message out again after this; the jobs table makes the second delivery harmless.
    broker_visibility_seconds: int = Field(3600, ge=2)
    # Uploads are read into memory once to be re-encoded; larger images are not photographs of one scene.
    max_upload_mb: int = Field(64, ge=1)
    # A zip of some ten thousand images; it is spooled to disk, never held in memory.
    max_import_mb: int = Field(2048, ge=1)
    import_sources: str = Field("", description="s3:// prefixes leads may import from, comma-separated.")
    cookie_secure: bool | None = Field(None, description="Secure cookies; by default when PUBLIC_URL is https.")

    @cached_property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.home / 'inpaintdpo.sqlite').absolute()}"

    @cached_property
    def resolved_broker_url(self) -> str:
        return self.broker_url or "filesystem://"

    @cached_property
    def resolved_blob_url(self) -> str:
        return self.blob_url or (self.home / "blobs").absolute().as_uri()

    @property
    def embedded(self) -> bool:
        """Whether the database is SQLite, so that one machine holds everything."""
        return self.resolved_database_url.startswith("sqlite")

    @property
    def secure_cookies(self) -> bool:
        if self.cookie_secure is not None:
            return self.cookie_secure
        return bool(self.public_url and self.public_url.startswith("https://"))
