"""The job kernel: transactional enqueue, fenced claims, slices, progress, cancel, sweep."""
