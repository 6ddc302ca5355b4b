"""Stage five: figures, tables and verdicts computed from a run's results, and the pages that show them."""
