"""One exported file: its manifest, its graph, its latents, where its images came from. numpy at most."""
