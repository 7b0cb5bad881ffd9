"""The verbs: plain pixel and table functions first, a thin Prefect ``@task`` last in each file."""
