"""The actions of callers: reserve, cancel, edit an event, join, change and leave."""
