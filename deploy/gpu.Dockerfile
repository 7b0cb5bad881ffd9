# The GPU image: GPU workers, Kubernetes' jobs and Ray's nodes. From the repository's root:
#   docker build -f deploy/gpu.Dockerfile -t cleanplate-gpu:0.1.0 .
# CUDA comes with PyPI's torch; the host brings the driver and NVIDIA's container toolkit.
# The build argument TORCH_INDEX names another index for torch, as one of https://download.pytorch.org/whl.
FROM python:3.11.14-slim-bookworm

# OpenCV's, and the compiler that torch.compile calls. Debian drops old versions, so none is named.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 10001 --create-home cleanplate && install -d -o cleanplate /cache

ARG EXTRAS=postgresql,ray
ARG TORCH_INDEX=
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} "/source[${EXTRAS}]"

ENV PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    CLEANPLATE_CACHE=/cache
WORKDIR /home/cleanplate
USER 10001
CMD ["cleanplate", "--help"]
