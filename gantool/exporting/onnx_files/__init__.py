"""A generator as ONNX files: the graph, its seeds, its precision."""
