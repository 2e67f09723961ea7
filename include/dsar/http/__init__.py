"""Calls over HTTP: messages, client, pacing."""
