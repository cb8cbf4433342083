"""Asks three hospitals about their admissions, without a model."""
