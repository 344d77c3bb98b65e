"""Runs: starting them, selecting, working slice by slice, recording, ending."""
