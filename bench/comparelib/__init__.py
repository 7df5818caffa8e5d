"""The parts of bench/compare; bench/README.md has the list."""
