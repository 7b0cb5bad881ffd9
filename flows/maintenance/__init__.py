"""Flows and checks that keep an installation healthy: reaper, retention, doctor."""
