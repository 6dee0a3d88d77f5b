"""Worked examples of the flow inside other models, each a command: `python -m glow_tf.examples.NAME --help`."""
