"""What a generator's latents mean: directions, the latents of a picture, what a unit does. For any architecture."""
