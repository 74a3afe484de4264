"""What tests entrust their secrets to."""

CREDENTIALS_KEY = "c3dpdGNoYm9hcmQtdGVzdHMta2V5LTMyLWJ5dGVzISE="
