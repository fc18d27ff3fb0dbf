"""Small releases that come with vgen, each beside its card."""
