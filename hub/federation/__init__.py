"""A hub among other agencies' hubs: founding, members, keys, what they decide, the way in and out."""
