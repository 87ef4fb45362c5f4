# Two images from one file: `web` runs the web server and CPU workers, `trainer` adds torch for GPU workers.
#   docker build --target web -t inpaintdpo-web .
#   docker build --target trainer -t inpaintdpo-trainer .

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/inpaintdpo
WORKDIR /source
COPY pyproject.toml constraints.txt README.md ./
COPY backend backend
COPY trainer trainer
COPY frontend_templates frontend_templates
COPY migrations migrations
RUN /opt/inpaintdpo/bin/pip install --constraint constraints.txt .

FROM build AS build-trainer
RUN /opt/inpaintdpo/bin/pip install --constraint constraints.txt ".[trainer]"

FROM python:3.11-slim AS base
# An account of its own; the folder exists in the image so that a new volume belongs to that account.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin inpaintdpo \
    && install --directory --owner=inpaintdpo --group=inpaintdpo /data
ENV PATH=/opt/inpaintdpo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    INPAINTDPO_HOME=/data \
    INPAINTDPO_HOST=0.0.0.0
USER inpaintdpo
WORKDIR /data
VOLUME /data
ENTRYPOINT ["inpaintdpo"]

FROM base AS trainer
COPY --from=build-trainer /opt/inpaintdpo /opt/inpaintdpo
CMD ["worker", "--queue", "gpu"]

FROM base AS web
COPY --from=build /opt/inpaintdpo /opt/inpaintdpo
EXPOSE 8000
CMD ["web"]
