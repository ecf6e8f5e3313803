"""`berth promote`: checks the release of one stack, and writes it into the file of another."""
