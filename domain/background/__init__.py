"""What nobody asks for: persist, clear, rebuild, reconcile, audit, delete what is past."""
