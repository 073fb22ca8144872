"""What people touch: command line, run folders, viewer, report, export."""
