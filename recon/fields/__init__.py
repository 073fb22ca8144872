"""Fields on lattices, and how they are solved for."""
