# One image for every process: `onsale`, `python -m api`, `python -m worker`. Nothing is written at run time, so it runs
# with a read-only file system. It has no embedded servers (see docker-compose.yml).

FROM python:3.13-slim AS build
WORKDIR /onsale
COPY requirements.txt requirements-bootstrap.txt ./
# Two environments: the installer stays in the first one and is not copied.
RUN python -m venv /bootstrap \
    && /bootstrap/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-bootstrap.txt \
    && python -m venv --without-pip /venv \
    && /bootstrap/bin/uv pip install --no-cache --python /venv/bin/python --compile-bytecode \
        --require-hashes --no-deps -r requirements.txt
COPY . .
RUN /bootstrap/bin/uv build --quiet --wheel --no-build-isolation --python /bootstrap/bin/python --out-dir /wheel \
    && /bootstrap/bin/uv pip install --no-cache --python /venv/bin/python --compile-bytecode --no-deps --no-index \
        /wheel/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home onsale \
    && install --directory --owner onsale --mode 0700 /var/lib/onsale \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/onsale \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json \
    REQUEST_LOG=on
USER onsale
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=2)"]
CMD ["python", "-m", "api"]
