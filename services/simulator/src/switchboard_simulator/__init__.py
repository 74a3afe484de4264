"""Switchboard simulator: a carrier on loopback that speaks Twilio's REST API."""
