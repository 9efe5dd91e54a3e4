"""The benchmark: `python -m bench` measures the program beside s5cmd, rclone and the aws CLI, all in one run."""
