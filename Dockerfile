# The client of a data owner in a container: docs/how-to/container.md.
# BASE is an image with Python 3.11 or later; name it with its digest to get the same bytes each time.
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
COPY requirements-image.lock ./
# Each package must have the hash of the lock.
RUN python3 -m venv /opt/syft-flwr \
    && /opt/syft-flwr/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY templates templates
RUN /opt/syft-flwr/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM ${BASE}
# Over SyftBox, the number of the user who owns the SyftBox folder on the host.
ARG UID=10001
RUN groupadd --gid "${UID}" syft-flwr \
    && useradd --no-log-init --uid "${UID}" --gid "${UID}" --home-dir /var/lib/syft-flwr --shell /usr/sbin/nologin syft-flwr \
    && install -d -m 0700 -o "${UID}" -g "${UID}" /var/lib/syft-flwr
COPY --from=build /opt/syft-flwr /opt/syft-flwr
ENV PATH=/opt/syft-flwr/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/syft-flwr \
    SYFT_FLWR_HOME=/var/lib/syft-flwr
USER ${UID}:${UID}
WORKDIR /project
# Keys, databases, and the records of runs.
VOLUME ["/var/lib/syft-flwr"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m --retries=3 CMD ["syft-flwr", "health", "/project"]
ENTRYPOINT ["syft-flwr"]
CMD ["client", "--keep", "/project"]
