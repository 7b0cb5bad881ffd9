"""Where everything is kept: workspace, shards, ledger, dataset versions, object stores."""
