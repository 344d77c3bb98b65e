"""What a library decides, and the rules that follow from it. Pure: no clock, no network."""
