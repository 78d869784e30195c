"""Runs started in processes of their own: on this machine, on several GPUs, on a cluster."""
