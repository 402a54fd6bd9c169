"""What every room needs of the operating system: files, folders, processes, GPUs."""
