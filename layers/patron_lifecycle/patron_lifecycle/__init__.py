"""Deactivates, purges and reinstates expired patrons of Ex Libris Alma for a library consortium."""
