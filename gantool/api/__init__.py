"""What the command line and Python programs call: each function is a whole task, from names and paths to a result."""
