"""Every detector of a site set off in turn, its alarm seen here and at the hub, and the certificate of it."""
