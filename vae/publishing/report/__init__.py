"""report.html: all that is known of a run on one page that needs no account and no network."""
