"""Outbound calls: runs, jobs, attempts; admission, dialling, settling, cancel and clean-up."""
