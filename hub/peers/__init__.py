"""What hubs have from each other: bodies, headers, promises, answers."""
