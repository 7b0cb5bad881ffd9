"""ObjectClear's flows: compositing and the training of its model."""
