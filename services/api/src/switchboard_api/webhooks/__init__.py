"""What the carrier sends us."""
