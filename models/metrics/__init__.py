"""The metrics of a removal, one file a family; those with weights read them from a folder."""
