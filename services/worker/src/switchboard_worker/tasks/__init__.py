"""The work behind each kind of background job."""
