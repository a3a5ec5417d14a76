"""Agreement on one order of transactions: the seam (`base`) and the engines behind it."""
