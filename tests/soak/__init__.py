"""Simulated months of runs with everything going wrong, under the eyes of a judge: `python -m tests.soak`."""
