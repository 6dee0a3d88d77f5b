"""A trained model for others: a SavedModel with named signatures, and a web page to play with it."""
