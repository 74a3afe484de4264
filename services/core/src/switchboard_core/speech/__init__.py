"""Speech to text, for recordings of calls and for spoken queries."""
