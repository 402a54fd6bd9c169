"""What every room needs of the operating system; one module for each need.

archives: zip archives that anybody may have written. files: atomic writes, bounded reads. locking: file locks. machine:
cores, memory, load. nvml: NVIDIA GPUs. subprocesses: child processes. terminal: what is printed.
"""
