"""The demo: the whole product on one machine, from a CSV of leads to transcripts."""
