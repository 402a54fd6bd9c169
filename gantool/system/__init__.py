"""What every room needs of the operating system; one module for each need.

cores: how many to use. files: atomic writes, bounded reads. locking: file locks. nvml: NVIDIA GPUs. subprocesses: child
processes. terminal: what is printed.
"""
