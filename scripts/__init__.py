"""What `make` and continuous integration call, apart from the tools themselves."""
