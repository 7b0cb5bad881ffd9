"""docs/reference/environment.md: every variable that the code reads or sets, and what for."""

import re

from tests.reference.code import files
from tests.reference.markdown import code, page, table

INTRO = """
A variable has an effect on the process that starts with it. `deploy/compose.yaml` and
`deploy/kubernetes/gpu-job.json` set most of them for you. Prefect has many more settings of its own;
this page lists only those that cleanplate reads or sets.
"""

OWN: dict[str, str] = {
    "CLEANPLATE_WORKSPACE": "The workspace of every command without `--workspace`: a folder or "
    "`s3://bucket/prefix`. `deploy/prefect.yaml` puts it into each deployment's config.",
    "CLEANPLATE_PROFILE": "The profile of `cleanplate serve` without `--profile`: `tiny`, `full` or a JSON "
    "file. `deploy/prefect.yaml` puts it into the configs of nightly runs, retrainings, rounds and cycles.",
    "CLEANPLATE_LEDGER": "The ledger's address: `postgresql+psycopg://name:password@host/database` or "
    "`sqlite:////a/file`. Without it, the workspace's file `ledger_url` names one; without that file, the "
    "ledger is `ledger.sqlite` in the workspace.",
    "CLEANPLATE_CACHE": "The folder for files of a workspace in a bucket. Without it: `~/.cache/cleanplate`.",
    "CLEANPLATE_CACHE_GB": "The size of that folder in GB (10⁹ bytes). Without it: 50. Files that are not in "
    "use leave it, oldest first.",
    "CLEANPLATE_METRIC_WEIGHTS": "The folder with the checkpoints of LPIPS, CLIP, DINO and SAM, for "
    "`cleanplate evaluate`.",
}
PREFECT: dict[str, str] = {
    "PREFECT_API_URL": "The Prefect server to use. Without it, a command uses the server that "
    "`cleanplate serve` keeps for the workspace. If there is none, it starts a temporary one.",
    "PREFECT_API_AUTH_STRING": "`name:password` for that server. Without it, a workspace's server has a "
    "random one in a file of its `prefect` folder.",
    "PREFECT_AUTH_STRING": "The same password, as `deploy/compose.yaml` asks for it.",
    "PREFECT_SERVER_API_AUTH_STRING": "The password that a server demands.",
    "PREFECT_SERVER_API_HOST": "The address on which our server listens.",
    "PREFECT_SERVER_API_PORT": "The port on which our server listens.",
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "The names under which a browser may reach our server.",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "Prefect's own database in `deploy/compose.yaml`.",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "The module that orders events. Our server sets "
    "`deploy.event_order`, so that one lost event does not hold back all later ones.",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "`false` in our server and images: nothing is reported to anybody.",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "`false` in our server.",
    "PREFECT_UI_API_URL": "Where the server's pages find its API. Our server sets it.",
    "PREFECT_HOME": "Prefect's folder. Commands set it to `prefect` in the workspace.",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "Seconds between the heartbeats of a run: 30. The reaper listens "
    "three times as long.",
    "PREFECT_WORKER_QUERY_SECONDS": "Seconds between a worker's questions for runs: 5.",
    "PREFECT_WORKER_WEBSERVER_HOST": "The address of a worker's health page: 127.0.0.1.",
}
OTHERS: dict[str, str] = {
    "AWS_ACCESS_KEY_ID": "The key of a workspace's bucket. All usual `AWS_*` variables work.",
    "AWS_SECRET_ACCESS_KEY": "The secret of a workspace's bucket.",
    "AWS_REGION": "The region of a workspace's bucket.",
    "AWS_ENDPOINT_URL_S3": "The store's address where it is not Amazon's.",
    "AWS_ENDPOINT_URL": "The same. It counts where `AWS_ENDPOINT_URL_S3` is not set.",
    "AWS_ENDPOINT": "The same. It counts where neither of the two is set.",
    "POSTGRES_PASSWORD": "The database's password in `deploy/compose.yaml`.",
    "REVIEW_PUBLIC_URL": "The address under which reviewers elsewhere open the review page, in compose.",
    "REVIEW_TRUSTED_PROXY": "The proxy that tells the review server a reviewer's address, in compose.",
    "RAY_AUTH_MODE": "`token`: Ray asks for the token.",
    "RAY_AUTH_TOKEN": "The token of the Ray cluster in `deploy/compose.yaml`.",
    "RAY_USAGE_STATS_ENABLED": "cleanplate sets `0`: Ray reports nothing to its makers.",
    "DO_NOT_TRACK": "cleanplate sets `1`: Prefect's client reports nothing to its makers.",
    "OMP_NUM_THREADS": "Threads of one process. `cleanplate demo` sets 1. Worker processes share the cores.",
    "OMP_WAIT_POLICY": "cleanplate sets `PASSIVE`: threads that wait leave the CPU to others.",
    "CUDA_VISIBLE_DEVICES": "The GPUs to use. Worker processes get one each.",
    "RANK": "The number of a training process. Only process 0 prints. The launcher sets it.",
    "LOCAL_RANK": "Its number on this machine. Where it is set, a training starts no further processes.",
    "LOCAL_WORLD_SIZE": "Training processes on this machine. The launcher sets it.",
    "ACCELERATE_USE_FSDP": "accelerate's mark of a sharded training. cleanplate clears it afterwards.",
    "YOLO_CONFIG_DIR": "Ultralytics' folder. cleanplate sets a temporary one.",
    "YOLO_OFFLINE": "cleanplate sets `true`: Ultralytics downloads nothing.",
    "YOLO_VERBOSE": "cleanplate sets `false`.",
}
NO_VARIABLES = {"PREFECT_FILE", "EXTRAS", "TORCH_INDEX"}
"""Names that look like variables: a constant, and what the images are built with."""
_NAMED = re.compile(r"\b(?:CLEANPLATE|PREFECT)_[A-Z_]*[A-Z]\b")
_IN_COMPOSE = re.compile(r"\$\{([A-Z_]+)")
_USED = re.compile(r"environ(?:\.\w+\(|\[)\"([A-Z_]+)\"|\"([A-Z_]+)\" in os\.environ")
_TEXTS = ("*.py", "*.yaml", "*.json", "*Dockerfile")


def named_in_code() -> set[str]:
    """Variables of ours and Prefect's, and all others that Python reads or sets or compose asks for."""
    text = "\n".join(files(*_TEXTS).values())
    used = {name for pair in _USED.findall(text) for name in pair if name}
    return (set(_NAMED.findall(text)) | used | set(_IN_COMPOSE.findall(text))) - NO_VARIABLES


def render() -> str:
    """The page."""
    return page(
        "Environment variables",
        INTRO,
        "## cleanplate's own",
        _table(OWN),
        "## Prefect's",
        _table(PREFECT),
        "## Others'",
        _table(OTHERS),
    )


def _table(variables: dict[str, str]) -> str:
    texts = files(*_TEXTS)
    rows = [
        (
            code(name),
            meaning,
            ", ".join(code(path) for path, text in texts.items() if re.search(rf"\b{name}\b", text)),
        )
        for name, meaning in sorted(variables.items())
    ]
    return table(("Variable", "What for", "Named in"), rows)
