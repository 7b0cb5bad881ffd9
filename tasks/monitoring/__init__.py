"""Watch a workspace: daily report, drift and Prometheus metrics."""
