"""Deployment: run the flows as a service on one machine or in containers."""
