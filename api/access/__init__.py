"""Who may call, and how often: declarations of routes, authentication, limits, guards."""
