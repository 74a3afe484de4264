"""PostgreSQL and Valkey from wheels as the main process of a container: for trials and tests, never for production."""

POSTGRESQL_PORT = 5432
VALKEY_PORT = 6379
