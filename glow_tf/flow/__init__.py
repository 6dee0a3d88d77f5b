"""Flow steps, levels of them, and the multi-scale model: how the layers of Table 1 are put together and run."""
