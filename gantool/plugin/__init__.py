"""What an author of architectures writes against: declarations, games, objectives, hooks; and the plugin registry."""
