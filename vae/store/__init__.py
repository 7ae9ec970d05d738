"""Objects under keys, in a local folder or on S3, with the same three promises on both."""
