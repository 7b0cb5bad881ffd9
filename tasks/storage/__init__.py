"""Keep everything: workspace, shards, ledger, dataset versions, object stores."""
