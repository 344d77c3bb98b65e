"""What the demo and the tests run on: a simulated Alma and a local AWS. Never deployed."""
