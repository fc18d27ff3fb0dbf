"""Plan spans and run a released network over them."""
