"""What datasets share about reading the files that people have."""
