"""What tests share: tiny architectures, third-party distributions, runs, the command line."""
