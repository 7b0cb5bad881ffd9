"""The abilities, each behind a small Protocol. Imports only ``data_specs``."""
