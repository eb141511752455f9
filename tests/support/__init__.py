"""Helpers that several tests share: servers, clients, clocks and sources."""
