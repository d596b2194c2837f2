"""What callers ask for: reserve, cancel, edit an event, join, change and leave."""
