"""The pages of the report, a folder each: what a page reads, its tables, its figures and its words."""
