"""Parts of networks; their fields are explicit, never a network's config."""
