"""What organizers and admins read about sales and accounts."""
