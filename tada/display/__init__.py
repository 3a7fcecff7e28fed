"""What a notebook shows: plots, tables, players, the steering slider and the widgets."""
