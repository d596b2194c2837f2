"""StoredPayment providers: those who take the money of buyers and pay it back."""
