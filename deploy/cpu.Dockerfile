# The CPU image: Prefect's server, the registration, CPU workers and the review page. From the repository's root:
#   docker build -f deploy/cpu.Dockerfile -t cleanplate-cpu:0.1.0 .
# The extra `yolo` holds ultralytics, which is AGPL-3.0, so it is asked for and not given:
#   docker build -f deploy/cpu.Dockerfile --build-arg EXTRAS=postgresql,ray,yolo -t cleanplate-cpu:0.1.0 .
FROM python:3.11.14-slim-bookworm

# OpenCV's. Debian drops old versions of a package, so naming one would break the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 10001 --create-home cleanplate && install -d -o cleanplate /cache

ARG EXTRAS=postgresql,ray
# PyTorch's own index has the wheels without CUDA, which pip prefers: 2.14.1+cpu is newer than 2.14.1 to it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} "/source[${EXTRAS}]"

ENV PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_USAGE_STATS_ENABLED=0 \
    CLEANPLATE_CACHE=/cache
WORKDIR /home/cleanplate
USER 10001
CMD ["cleanplate", "--help"]
