"""The models, each behind a small Protocol. This package imports only ``data_specs``."""
