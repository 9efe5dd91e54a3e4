"""The AWS side: one module for each outside thing."""
