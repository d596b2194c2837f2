"""The one independent checker of the books, and what runs that use it have in common."""
