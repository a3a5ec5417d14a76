"""The gateway's side of its region: enrolment, hubs, receipts, orders, the federation's changes."""
