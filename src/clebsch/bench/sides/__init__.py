"""What the measuring processes run, each file by its path; nothing here is imported by others."""
