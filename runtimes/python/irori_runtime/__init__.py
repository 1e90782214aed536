"""Irori's Python runtime client."""
