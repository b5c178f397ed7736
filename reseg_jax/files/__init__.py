"""Reading and writing files: whole, checked, strictly."""
