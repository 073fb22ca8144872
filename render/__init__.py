"""Pictures from scenes."""
