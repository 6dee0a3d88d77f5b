"""What is done with latents: flattening, drawing, interpolation, attribute directions, and their files."""
