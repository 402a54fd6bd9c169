"""Films through a generator's latents: key frames, the way between them, and the files; numpy and onnxruntime."""
