"""Call recordings: the row of each, its download and its transcript."""
