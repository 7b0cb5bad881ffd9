"""What a cycle looks like: charts, sample grids and one self-contained page."""
