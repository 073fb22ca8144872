"""Gaussian splats: what they are, how they begin, grow and are cleaned. Pictures of them are `render.splats`'s."""
