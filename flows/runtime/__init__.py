"""How flows run: Prefect's server, run states, tasks mapped over shards."""
