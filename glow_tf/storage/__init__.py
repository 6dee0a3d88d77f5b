"""Files: saved models, OpenAI's checkpoints, bounded reading of .npz, atomic writes."""
