"""Quality figures: distances between distributions of features, diversity, memorisation."""
