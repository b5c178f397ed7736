"""What datasets share about reading files."""
