"""How fast an exported generator is, in a process of its own, and whether what was measured was right.

Nothing is imported here: the worker's cold time starts after it. Begin with `gantool.benching.report.bench`.
"""
