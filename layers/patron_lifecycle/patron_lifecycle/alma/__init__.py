"""Ex Libris Alma: its REST API, records, errors and pace."""
