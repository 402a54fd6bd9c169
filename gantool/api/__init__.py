"""What `import gantool` offers: train, evaluate, export and bench from Python, and the runs on disk.

The command line calls the same functions. A file a function; `gantool/__init__.py` loads them when they are used.
"""
