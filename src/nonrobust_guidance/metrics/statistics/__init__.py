"""Intervals, and several seeds as one number."""
