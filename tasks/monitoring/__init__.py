"""The daily report, drift and Prometheus metrics."""
